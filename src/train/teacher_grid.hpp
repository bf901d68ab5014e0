// A teacher on another grid of the same ranks than the student: its layers are split as suits its own size,
// its hidden states travel to where the student's head is. The teacher's head lives there too, split like the
// student's (model::head_alone), since a loss compares logits of the same tokens and vocabulary.
#pragma once

#include <deque>
#include <span>

#include "src/comm/topology.hpp"
#include "src/model/stage.hpp"
#include "src/train/pipeline.hpp"

namespace espalier::train {

/// Micro-batches of a step are dealt to the replicas of both grids with split_evenly; all are of the same
/// size but the last. Hidden states travel through the memory of the processors: any rank may have to send to
/// any other, which a device's lanes do not provide for.
class TeacherGrid {
public:
    /// `body` is on `own` grid, without a head; both grids are of all ranks. All outlive this.
    TeacherGrid(const comm::Topology& student, const comm::Topology& own, model::Transformer& body);

    /// Collective. The teacher's forward passes of a step: `mine` are the micro-batches of this rank's
    /// replica of the teacher, in order; the step has tokens_of.size() of them in all, each of so many
    /// tokens.
    void run(Context& ctx, std::span<const MicroBatch> mine, std::span<const int64_t> tokens_of);

    /// Student's last stage, once for each micro-batch of its replica, in order: the hidden states [T, H].
    Tensor next_hidden(Context& ctx);

private:
    struct Expected {
        int64_t tokens;
        Tensor part;  // [rows of this rank, H], on the processor
        std::vector<comm::Request> messages;
    };
    void expect(Context& ctx, std::span<const int64_t> tokens_of);
    /// y [rows of this rank, H] on the processor.
    void send(const Tensor& y, int64_t micro_batch, int64_t tokens, int64_t of_all);

    const comm::Topology& student_;
    const comm::Topology& own_;
    model::Transformer& body_;
    std::deque<Expected> expected_;
    model::Outbox between_stages_, to_student_;
};

}  // namespace espalier::train
