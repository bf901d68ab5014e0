#include "src/train/pipeline.hpp"

#include <utility>

namespace espalier::train {

using comm::activation_tag;
using comm::gradient_tag;
using comm::state_sum_tag;
using comm::state_weight_tag;

Pipeline::Pipeline(const comm::Topology& topology, model::Transformer& model, model::Transformer* teacher,
                   model::Recompute recompute, model::StateHooks* states)
    : topology_(topology),
      model_(model),
      recompute_(recompute),
      states_(states),
      shape_(model::pipeline_shape(topology, model)) {
    in_flight_.resize(static_cast<size_t>(shape_.virtual_stages));
    if (teacher) teacher_.emplace(topology, shape_, *teacher, states);
}

void Pipeline::wait(Context& ctx, comm::Request& message) {
    if (teacher_) {
        teacher_->wait(ctx, message);
    } else {
        message.wait();
    }
}

void Pipeline::finish(Context& ctx) {
    if (teacher_) teacher_->finish(ctx);
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

void Pipeline::forward(Context& ctx, const MicroBatch& batch, int virtual_stage, const LossFunction& loss) {
    InFlight& flight = in_flight_[virtual_stage].emplace_back();
    flight.saved.recompute = recompute_;
    // On a device before the student's input is asked for: all that follows on the stream comes after that,
    // and a stage whose student's input is late would not take the teacher's from the stage before.
    if (teacher_ && ctx.on_gpu()) teacher_->keep_ahead(ctx);
    Tensor x;
    double states_sum = 0;  // of the virtual stages so far
    if (shape_.is_first(virtual_stage)) {
        x = model_.embed(ctx, batch.tokens);
    } else {
        x = model::empty_activation(ctx, model_, topology_, batch.tokens);
        auto message = topology_.pipeline.receive(x, shape_.stage_before(), activation_tag);
        wait(ctx, message);
        if (states_) states_sum = receive_number(ctx, shape_.stage_before(), state_sum_tag);
    }
    // Here, not only where its result is used: what no stage found time for goes through all of them in turn.
    if (teacher_ && !ctx.on_gpu()) teacher_->keep_ahead(ctx);
    if (states_) flight.states = states_->student_pass(virtual_stage, batch.labels);
    model::Observer* const observer = states_ ? &flight.states->observer() : nullptr;
    x = model_.forward(ctx, std::move(x), batch.tokens, &flight.saved, observer, virtual_stage);
    if (!shape_.is_last(virtual_stage)) {
        outbox_.send(topology_.pipeline, x, shape_.stage_after(), activation_tag);
        if (states_)  // a device is waited for
            send_number(ctx, states_sum + flight.states->sum(ctx), shape_.stage_after(), state_sum_tag);
        return;
    }
    const Tensor teacher_hidden = teacher_ ? teacher_->take_hidden() : Tensor();
    const Tensor hidden = model_.final_hidden(ctx, x, batch.tokens, &flight.saved, observer);
    flight.d_hidden = loss(batch, hidden, teacher_hidden);
    if (states_) {
        states_sum += flight.states->sum(ctx);
        topology_.tensor.all_reduce({&states_sum, 1});
        flight.weight = states_->weigh(states_sum, batch.tokens.tokens());
    }
}

void Pipeline::backward(Context& ctx, const MicroBatch& batch, int virtual_stage, GradientReducer* reducer) {
    const auto completed = [&](int64_t part) {
        if (reducer) reducer->begin(ctx, part);
    };
    auto& waiting = in_flight_[virtual_stage];
    InFlight flight = std::move(waiting.front());
    waiting.pop_front();
    Tensor d_out;
    double weight = flight.weight;
    if (shape_.is_last(virtual_stage)) {
        model::Injector* const injector = states_ ? &flight.states->injector(weight) : nullptr;
        d_out = model_.final_hidden_backward(ctx, flight.d_hidden, flight.saved, injector);
        completed(model_.architecture().depth());
    } else {
        d_out = model::empty_activation(ctx, model_, topology_, batch.tokens);
        auto message = topology_.pipeline.receive(d_out, shape_.stage_after(), gradient_tag);
        wait(ctx, message);
        if (states_) weight = receive_number(ctx, shape_.stage_after(), state_weight_tag);
    }
    const Tensor dx = model_.backward(ctx, std::move(d_out), batch.tokens, flight.saved, virtual_stage,
                                      states_ ? &flight.states->injector(weight) : nullptr, completed);
    if (shape_.is_first(virtual_stage)) {
        model_.embed_backward(ctx, dx, batch.tokens);
    } else {
        outbox_.send(topology_.pipeline, dx, shape_.stage_before(), gradient_tag);
        if (states_) send_number(ctx, weight, shape_.stage_before(), state_weight_tag);
    }
}

void Pipeline::step(Context& ctx, std::span<const MicroBatch> now, std::span<const MicroBatch> next,
                    const LossFunction& loss, GradientReducer* reducer) {
    if (teacher_) teacher_->begin_step(now, next);
    for (const auto& [work, pass] : pipeline_schedule(shape_, narrow<int64_t>(now.size()))) {
        const MicroBatch& batch = now[pass.micro_batch];
        if (work == Work::forward) {
            forward(ctx, batch, pass.virtual_stage, loss);
        } else {
            backward(ctx, batch, pass.virtual_stage, &batch == &now.back() ? reducer : nullptr);
        }
        outbox_.drain(static_cast<size_t>(most_messages(shape_.stages)));
        if (teacher_) teacher_->drain(ctx);
    }
    outbox_.drain();
    numbers_.drain();
    if (teacher_) teacher_->end_step();
}

}  // namespace espalier::train
