// Where the time of a loop goes: computing, each kind of communication, files.
#pragma once

#include <array>
#include <nlohmann/json.hpp>

#include "src/comm/topology.hpp"

namespace espalier::jobs {

/// Pieces of work are timed one after another. What a piece spends in communicators counts as tensor,
/// pipeline, data, or world (what all ranks do together, waiting for the slowest among it); the rest as the
/// piece's own kind. On a device, where work is only put on a stream, times are the processor's.
class Breakdown {
public:
    enum Part { compute, tensor, pipeline, data, world, io };
    static constexpr std::array names{"compute", "tensor", "pipeline", "data", "world", "io"};

    explicit Breakdown(const comm::Topology& topology) : topology_(topology) {}

    /// Calls work and times it as computing or as io.
    template <class Work>
    auto time(Part own, Work work) {
        const Piece piece(*this, own);
        return work();
    }

    /// Collective. Seconds by part, the mean over ranks; parts that took none are left out.
    nlohmann::ordered_json mean_seconds() const;

private:
    using Seconds = std::array<double, names.size()>;
    class Piece {
    public:
        Piece(Breakdown& all, Part own) : all_(all), own_(own), begin_(all.now(own)) {}
        ~Piece() { all_.add(own_, begin_); }
        Piece(const Piece&) = delete;
        Piece& operator=(const Piece&) = delete;

    private:
        Breakdown& all_;
        Part own_;
        Seconds begin_;
    };
    /// Readings of the communicators' clocks, and of the wall's as `own`.
    Seconds now(Part own) const;
    void add(Part own, const Seconds& begin);

    const comm::Topology& topology_;
    Seconds spent_{};
};

}  // namespace espalier::jobs
