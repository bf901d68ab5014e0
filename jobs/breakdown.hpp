// Where the time of a loop goes: computing, each kind of communication, files.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "src/comm/topology.hpp"

namespace espalier::jobs {

/// Measures a rank's time from construction: what it spends in communicators counts as tensor, pipeline,
/// data, or world (what all ranks do together, waiting for the slowest among it), what it spends inside io()
/// as io, and all the rest as compute, so that the parts add up to seconds(). On a device, where work is only
/// put on a stream, times are the host's.
class Breakdown {
public:
    /// Of a run whose communicators are those of `grids`, which outlive this.
    explicit Breakdown(std::vector<const comm::Topology*> grids) : grids_(std::move(grids)), begin_(now()) {}

    /// Calls work, whose time, but for what it spends in communicators, is that of files.
    template <class Work>
    auto io(Work work) {
        const Files files(*this);
        return work();
    }

    double seconds() const { return now().wall - begin_.wall; }
    /// Collective. Seconds by part, the mean over ranks; parts that took none are left out.
    nlohmann::ordered_json mean_seconds() const;

private:
    static constexpr std::array names{"compute", "tensor", "pipeline", "data", "world", "io"};
    /// Seconds on the wall's clock and on the communicators'.
    struct Reading {
        double wall = 0, tensor = 0, pipeline = 0, data = 0, world = 0;
        double outside_communicators() const { return wall - tensor - pipeline - data - world; }
    };
    class Files {
    public:
        explicit Files(Breakdown& all) : all_(all), begin_(all.now()) {}
        ~Files() { all_.io_ += all_.now().outside_communicators() - begin_.outside_communicators(); }
        Files(const Files&) = delete;
        Files& operator=(const Files&) = delete;

    private:
        Breakdown& all_;
        Reading begin_;
    };
    Reading now() const;

    std::vector<const comm::Topology*> grids_;
    Reading begin_;
    double io_ = 0;
};

}  // namespace espalier::jobs
