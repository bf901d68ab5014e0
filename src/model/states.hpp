// Hidden states inside a model: where they are, and what a loss on them hooks into.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "src/comm/communicator.hpp"
#include "src/model/observer.hpp"
#include "src/model/placement.hpp"

namespace espalier::model {

/// Where a state is made.
struct StatePlace {
    int stage = 0;
    int virtual_stage = 0;
    bool operator==(const StatePlace&) const = default;
};
StatePlace place_of_state(const Architecture& a, int stages, int virtual_stages, StateName state);

/// Hands out the wanted states of a forward pass: this rank's tokens, [Tl, H].
class StateWatch : public Observer {
public:
    /// seen(ctx, i, x): x is wanted[i], to be read only: its memory may be the pass's own. Whoever keeps x
    /// keeps nothing beside it.
    using Seen = std::function<void(Context&, size_t, const Tensor&)>;
    StateWatch(comm::Communicator tensor, std::vector<StateName> wanted, Seen seen)
        : tensor_(std::move(tensor)), wanted_(std::move(wanted)), seen_(std::move(seen)) {}

    void block(Context& ctx, int64_t layer, const TokenBatch& tokens, const Tensor& x,
               const Tensor& out) override;
    void norm_output(Context& ctx, StateName name, const TokenBatch& tokens, const Tensor& all) override;
    /// What no forward pass shows; x [Tl, H].
    void report(Context& ctx, StateName name, const Tensor& x) const;

private:
    comm::Communicator tensor_;
    std::vector<StateName> wanted_;
    Seen seen_;
};

/// A loss on hidden states, as a pipeline sees it: every pass of a micro-batch through one of this rank's
/// virtual stages adds to a sum, whose weight in the loss is known once the micro-batch is through.
class StatePass {
public:
    virtual ~StatePass() = default;
    /// To be shown the student's forward pass.
    virtual Observer& observer() = 0;
    /// After that: this rank's part of the sum over tokens.
    virtual double sum(Context& ctx) = 0;
    /// To be asked in the backward pass: adds `weight` times the sum's gradient.
    virtual Injector& injector(double weight) = 0;
};

class StateHooks {
public:
    virtual ~StateHooks() = default;
    /// To be shown the teacher's forward passes through a virtual stage, in the micro-batches' order; those
    /// may be ahead of the student's.
    virtual Observer& teacher_pass(int virtual_stage) = 0;
    /// labels [tokens] i32 of the micro-batch; < 0: the token is no part of the loss.
    virtual std::unique_ptr<StatePass> student_pass(int virtual_stage, const Tensor& labels) = 0;
    /// On the last stage, after the micro-batch's loss there: the weight of the gradient, from the sum over
    /// all ranks that had a part in its `tokens` tokens.
    virtual double weigh(double sum, int64_t tokens) = 0;
};

}  // namespace espalier::model
