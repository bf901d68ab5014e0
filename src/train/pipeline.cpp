#include "src/train/pipeline.hpp"

#include <sched.h>

#include <utility>

namespace espalier::train {

using comm::activation_tag;
using comm::gradient_tag;
using comm::teacher_activation_tag;

namespace {

/// Of numbers, which travel through the processors' memory.
enum NumberTag : int { sum_tag = comm::gradient_tag + 1, weight_tag };

}  // namespace

Pipeline::Pipeline(const comm::Topology& topology, model::Transformer& model, model::Transformer* teacher,
                   PipelineOptions options, model::StateHooks* states)
    : topology_(topology), model_(model), teacher_(teacher), options_(options), states_(states) {
    shape_ = {topology.layout.pp, topology.stage(), narrow<int>(model.placement().virtual_stages.size())};
    in_flight_.resize(static_cast<size_t>(shape_.virtual_stages));
}

Tensor Pipeline::like_input(Context& ctx, const model::Transformer& m, const MicroBatch& batch) const {
    return ctx.empty({model::local_tokens(topology_, batch.tokens), m.architecture().hidden}, m.dtype());
}

void Pipeline::send_number(Context& ctx, double value, int to, int tag) {
    const Tensor message = ctx.empty_on_host({1}, DType::f64);
    *message.data<double>() = value;
    numbers_.send(topology_.pipeline, message, to, tag);
}

double Pipeline::receive_number(Context& ctx, int from, int tag) const {
    Tensor message = ctx.empty_on_host({1}, DType::f64);
    topology_.pipeline.receive(message, from, tag).wait();
    return *message.data<double>();
}

// The teacher

const MicroBatch& Pipeline::teacher_batch() const {
    const size_t total = teacher_passes_.size();
    const auto m = static_cast<size_t>(teacher_passes_[taught_ % total].micro_batch);
    return taught_ < total ? now_[m] : next_[m];
}

bool Pipeline::may_teach() const {
    const auto most = static_cast<size_t>(most_taught_ahead(shape_.stages));
    if (!teacher_ || shape_.stages == 1 || taught_ - forwarded_ >= most) return false;
    const size_t total = teacher_passes_.size();
    return taught_ < total || (options_.teacher_ahead && next_.size() == now_.size() && taught_ < 2 * total);
}

void Pipeline::expect_teacher_input(Context& ctx) {
    const Pass pass = teacher_passes_[taught_ % teacher_passes_.size()];
    if (is_first(pass.virtual_stage) || teacher_input_) return;
    teacher_input_ = like_input(ctx, *teacher_, teacher_batch());
    teacher_message_ = topology_.pipeline.receive(teacher_input_, stage_before(), teacher_activation_tag);
}

void Pipeline::teach(Context& ctx) {
    const MicroBatch& batch = teacher_batch();
    const int virtual_stage = teacher_passes_[taught_ % teacher_passes_.size()].virtual_stage;
    expect_teacher_input(ctx);
    teacher_message_.wait();
    Tensor x =
        is_first(virtual_stage) ? teacher_->embed(ctx, batch.tokens) : std::exchange(teacher_input_, {});
    x = teacher_->forward(ctx, std::move(x), batch.tokens, nullptr,
                          states_ ? &states_->teacher_pass(virtual_stage) : nullptr, virtual_stage);
    if (is_last(virtual_stage)) {
        teacher_hidden_.push_back(teacher_->final_hidden(ctx, x, batch.tokens));
    } else {
        teacher_outbox_.send(topology_.pipeline, x, stage_after(), teacher_activation_tag);
    }
    ++taught_;
}

void Pipeline::wait(Context& ctx, comm::Request& message) {
    // On a device nothing waits here, and what has come is not known: the teacher is just ahead of the
    // student. The ranks of a tensor parallel group must do the same: the first one sees what has come, all
    // follow.
    enum : int64_t { follow, go_on, teach_first };
    while (!ctx.on_gpu() && may_teach()) {
        expect_teacher_input(ctx);
        int64_t choice = follow;
        while (topology_.tensor.rank() == 0 && choice == follow) {
            if (message.test()) {
                choice = go_on;
            } else if (teacher_message_.test()) {
                choice = teach_first;
            } else {
                sched_yield();
            }
        }
        if (topology_.tensor.all_reduce(choice, comm::Reduction::max) == go_on) break;
        teach(ctx);
    }
    message.wait();
}

void Pipeline::finish(Context& ctx) {
    if (!teacher_ || shape_.stages == 1) return;
    const auto furthest = static_cast<size_t>(
        topology_.pipeline.all_reduce(static_cast<int64_t>(taught_), comm::Reduction::max));
    while (taught_ < furthest) teach(ctx);
    teacher_message_.cancel();
    teacher_outbox_.drain();
}

// The student

void Pipeline::forward(Context& ctx, const MicroBatch& batch, int64_t index, int virtual_stage,
                       const LossFunction& loss) {
    InFlight& flight = in_flight_[virtual_stage].emplace_back();
    flight.saved.recompute = options_.recompute;
    Tensor x;
    double states_sum = 0;  // of the virtual stages so far
    if (is_first(virtual_stage)) {
        x = model_.embed(ctx, batch.tokens);
    } else {
        x = like_input(ctx, model_, batch);
        auto message = topology_.pipeline.receive(x, stage_before(), activation_tag);
        wait(ctx, message);
        if (states_) states_sum = receive_number(ctx, stage_before(), sum_tag);
    }
    // Here, not only where its result is used: what no stage found time for goes through all of them in turn.
    while (teacher_ && taught_ <= forwarded_) teach(ctx);
    ++forwarded_;
    if (states_) flight.states = states_->student_pass(virtual_stage, batch.labels);
    x = model_.forward(ctx, std::move(x), batch.tokens, &flight.saved,
                       states_ ? &flight.states->observer() : nullptr, virtual_stage);
    if (states_) states_sum += flight.states->sum(ctx);
    if (!is_last(virtual_stage)) {
        outbox_.send(topology_.pipeline, x, stage_after(), activation_tag);
        if (states_) send_number(ctx, states_sum, stage_after(), sum_tag);
        return;
    }
    Tensor teacher_hidden;
    if (teacher_) {
        teacher_hidden = std::move(teacher_hidden_.front());
        teacher_hidden_.pop_front();
    }
    const Tensor hidden = model_.final_hidden(ctx, x, batch.tokens, &flight.saved);
    flight.d_hidden = loss(batch, index, hidden, teacher_hidden);
    if (states_) {
        topology_.tensor.all_reduce({&states_sum, 1});
        flight.weight = states_->weigh(states_sum, batch.tokens.tokens());
    }
}

void Pipeline::backward(Context& ctx, const MicroBatch& batch, int virtual_stage) {
    auto& waiting = in_flight_[virtual_stage];
    InFlight flight = std::move(waiting.front());
    waiting.pop_front();
    Tensor d_out;
    double weight = flight.weight;
    if (is_last(virtual_stage)) {
        d_out = model_.final_hidden_backward(ctx, flight.d_hidden, flight.saved);
    } else {
        d_out = like_input(ctx, model_, batch);
        auto message = topology_.pipeline.receive(d_out, stage_after(), gradient_tag);
        wait(ctx, message);
        if (states_) weight = receive_number(ctx, stage_after(), weight_tag);
    }
    const Tensor dx = model_.backward(ctx, std::move(d_out), batch.tokens, flight.saved, virtual_stage,
                                      states_ ? &flight.states->injector(weight) : nullptr);
    if (is_first(virtual_stage)) {
        model_.embed_backward(ctx, dx, batch.tokens);
    } else {
        outbox_.send(topology_.pipeline, dx, stage_before(), gradient_tag);
        if (states_) send_number(ctx, weight, stage_before(), weight_tag);
    }
}

void Pipeline::step(Context& ctx, std::span<const MicroBatch> now, std::span<const MicroBatch> next,
                    const LossFunction& loss) {
    now_ = now;
    next_ = next;
    teacher_passes_ = forward_passes(shape_, narrow<int64_t>(now.size()));
    forwarded_ = 0;
    for (const auto& [work, pass] : pipeline_schedule(shape_, narrow<int64_t>(now.size()))) {
        const MicroBatch& batch = now[pass.micro_batch];
        if (work == Work::forward) {
            forward(ctx, batch, pass.micro_batch, pass.virtual_stage, loss);
        } else {
            backward(ctx, batch, pass.virtual_stage);
        }
        outbox_.drain(static_cast<size_t>(most_messages));
        teacher_outbox_.drain(4 * static_cast<size_t>(shape_.stages));
    }
    outbox_.drain();
    numbers_.drain();
    if (teacher_) taught_ -= teacher_passes_.size();
    now_ = next;
    next_ = {};
}

}  // namespace espalier::train
