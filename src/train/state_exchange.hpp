// Tensors of a step's micro-batches on their way from a teacher's grid to the student's, both of all ranks:
// each rank has rows [Tl, H] of its own tokens on either, however many ranks share them. They travel through
// host memory: any rank may have to send to any other, which a device's lanes do not provide for.
#pragma once

#include <deque>
#include <span>

#include "src/comm/topology.hpp"
#include "src/model/stage.hpp"

namespace espalier::train {

/// From a stage of the teacher's pipeline to one of the student's.
struct StageRoute {
    int teacher_stage;
    int student_stage;
};

/// Micro-batches of a step are dealt to the replicas of both grids with split_evenly; what goes one way
/// comes in their order.
class StateExchange {
public:
    /// The grids outlive this; no other is in use on their world at the same time.
    StateExchange(const comm::Topology& student, const comm::Topology& teacher,
                  std::vector<StageRoute> routes);

    /// Collective, before a step's first send(): makes ready for tensors of `width` of all its micro-batches,
    /// each of so many tokens. Those of the step before have been taken by then.
    void begin_step(Context& ctx, std::span<const int64_t> tokens_of, int64_t width, DType dtype);

    /// Bytes of host memory of such a step on this rank: what it receives, and sends until the next step.
    int64_t step_bytes(std::span<const int64_t> tokens_of, int64_t width, DType dtype) const;

    /// On a rank of the route's teacher stage, for each micro-batch m of its replica, in order: x [Tl,
    /// width].
    void send(Context& ctx, size_t route, int64_t m, const Tensor& x);

    /// After the last send(): waits until all have left this rank. A library may move large messages only in
    /// calls of MPI, of which a host that waits for its device makes none; those that wait for them would
    /// wait for ever.
    void end_step() { outbox_.drain(); }

    /// On a rank of the route's student stage, likewise: [Tl, width] of the micro-batch that is next.
    Tensor next(Context& ctx, size_t route);
    /// The same of all tokens: [T, width], gathered over the student's tensor parallel ranks.
    Tensor next_gathered(Context& ctx, size_t route);

private:
    struct Expected {
        int64_t tokens;
        Tensor part;  // [rows of this rank, width], on the host
        std::vector<comm::Request> messages;
    };
    Expected take(size_t route);
    int64_t count() const { return static_cast<int64_t>(tokens_of_.size()); }

    const comm::Topology& student_;
    const comm::Topology& teacher_;
    std::vector<StageRoute> routes_;
    std::vector<int64_t> tokens_of_;
    std::vector<std::deque<Expected>> expected_;  // of each route
    model::Outbox outbox_;
};

}  // namespace espalier::train
