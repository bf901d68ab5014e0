// Where the time of a loop goes: computing, each kind of communication, files.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "src/comm/topology.hpp"
#include "src/core/context.hpp"

namespace espalier::jobs {

/// Measures a rank's time from construction, each part by a watch of its own: what it spends in passes and
/// updates (Context::computing) counts as compute, in communicators as tensor, pipeline, data, or world (what
/// all ranks do together, waiting for the slowest among it), inside io() as io, and each moment only once.
/// What nobody measures is in no part, so that the parts show by how far they miss seconds(). On a device,
/// where work is only put on a stream, times are the host's.
class Breakdown {
public:
    /// Of a run on ctx whose communicators are those of `grids`; all outlive this.
    Breakdown(const Context& ctx, std::vector<const comm::Topology*> grids)
        : ctx_(ctx), grids_(std::move(grids)), begin_(now()) {}

    /// Calls work, whose time, but for what it computes and spends in communicators, is that of files.
    template <class Work>
    auto io(Work work) {
        const Timed timed(&io_);
        return work();
    }

    double seconds() const { return wall() - begin_wall_; }
    /// Collective. Seconds by part, the mean over ranks; parts that took none are left out.
    nlohmann::ordered_json mean_seconds() const;

private:
    static constexpr std::array names{"compute", "tensor", "pipeline", "data", "world", "io"};
    /// Of the watches, in the order of their names.
    using Reading = std::array<double, names.size()>;
    Reading now() const;
    static double wall();

    const Context& ctx_;
    std::vector<const comm::Topology*> grids_;
    Stopwatch io_;
    Reading begin_;
    double begin_wall_ = wall();
};

}  // namespace espalier::jobs
