#include "src/train/teacher_passes.hpp"

#include <sched.h>

#include <utility>

namespace espalier::train {

using comm::teacher_activation_tag;

TeacherPasses::TeacherPasses(const comm::Topology& topology, const model::PipelineShape& shape,
                             model::Transformer& teacher, model::StateHooks* states)
    : topology_(topology), shape_(shape), teacher_(teacher), states_(states) {}

void TeacherPasses::begin_step(std::span<const MicroBatch> now, std::span<const MicroBatch> next) {
    now_ = now;
    next_ = next;
    passes_ = forward_passes(shape_, narrow<int64_t>(now.size()));
    asked_for_ = 0;
}

void TeacherPasses::end_step() {
    taught_ -= passes_.size();
    now_ = next_;
    next_ = {};
}

const MicroBatch& TeacherPasses::next_batch() const {
    const auto m = static_cast<size_t>(next_pass().micro_batch);
    return taught_ < passes_.size() ? now_[m] : next_[m];
}

bool TeacherPasses::may_teach() const {
    const auto most = static_cast<size_t>(model::most_taught_ahead(shape_.stages));
    if (shape_.stages == 1 || taught_ - asked_for_ >= most) return false;
    const size_t total = passes_.size();
    return taught_ < total || (next_.size() == now_.size() && taught_ < 2 * total);
}

void TeacherPasses::expect_input(Context& ctx) {
    if (shape_.is_first(next_pass().virtual_stage) || input_) return;
    input_ = model::empty_activation(ctx, teacher_, topology_, next_batch().tokens);
    message_ = topology_.pipeline.receive(input_, shape_.stage_before(), teacher_activation_tag);
}

void TeacherPasses::teach(Context& ctx) {
    const MicroBatch& batch = next_batch();
    const int virtual_stage = next_pass().virtual_stage;
    expect_input(ctx);
    message_.wait();
    Tensor x = shape_.is_first(virtual_stage) ? teacher_.embed(ctx, batch.tokens) : std::exchange(input_, {});
    model::Observer* const observer = states_ ? &states_->teacher_pass(virtual_stage) : nullptr;
    x = teacher_.forward(ctx, std::move(x), batch.tokens, nullptr, observer, virtual_stage);
    if (shape_.is_last(virtual_stage)) {
        hidden_.push_back(teacher_.final_hidden(ctx, x, batch.tokens, nullptr, observer));
    } else {
        outbox_.send(topology_.pipeline, x, shape_.stage_after(), teacher_activation_tag);
    }
    ++taught_;
}

void TeacherPasses::keep_ahead(Context& ctx) {
    while (taught_ <= asked_for_) teach(ctx);
    ++asked_for_;
}

void TeacherPasses::wait(Context& ctx, comm::Request& message) {
    // On a device nothing waits here, and what has come is not known: the teacher is just ahead of the
    // student. The ranks of a tensor parallel group must do the same: the first one sees what has come, all
    // follow.
    enum : int64_t { follow, go_on, teach_first };
    const Timed waiting(topology_.pipeline.watch());  // but for what is taught
    while (!ctx.on_gpu() && may_teach()) {
        expect_input(ctx);
        int64_t choice = follow;
        while (topology_.tensor.rank() == 0 && choice == follow) {
            if (message.test()) {
                choice = go_on;
            } else if (message_.test()) {
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

Tensor TeacherPasses::take_hidden() {
    Tensor out = std::move(hidden_.front());
    hidden_.pop_front();
    return out;
}

void TeacherPasses::drain(const Context& ctx) {
    // On a device the teacher keeps step with the student, and so do its messages.
    const int64_t most = ctx.on_gpu() ? most_messages(shape_.stages) : int64_t{4} * shape_.stages;
    outbox_.drain(static_cast<size_t>(most));
}

bool TeacherPasses::begins_group(size_t pass) const {
    if (pass == 0) return true;
    return passes_[pass].virtual_stage == 0 && passes_[pass - 1].virtual_stage == shape_.virtual_stages - 1;
}

void TeacherPasses::finish(Context& ctx) {
    if (shape_.stages == 1) return;
    auto last = static_cast<size_t>(
        topology_.pipeline.all_reduce(static_cast<int64_t>(taught_), comm::Reduction::max));
    // What goes round the ring to a later virtual stage is for a pass of the same group of micro-batches,
    // which must come, or nobody takes the message.
    while (last < passes_.size() && !begins_group(last)) ++last;
    while (taught_ < last) teach(ctx);
    message_.cancel();
    input_ = {};
    outbox_.drain();
}

}  // namespace espalier::train
