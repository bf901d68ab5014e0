// The loss on hidden states: distances where the student's states are, their gradients where they pass.
#pragma once

#include <deque>

#include "src/distill/projection.hpp"
#include "src/distill/state_terms.hpp"
#include "src/model/transformer.hpp"

namespace espalier::distill {

/// Sums over the tokens of a step that count.
struct StateSums {
    double distance = 0;  ///< of all pairs
    double loss = 0;      ///< the same, each micro-batch's times its weight
};

class StateLoss : public model::StateHooks {
public:
    /// projection: nullptr where teacher and student are equally wide. All but the terms outlive this.
    StateLoss(StateTerms terms, const model::Transformer& student, const comm::Topology& topology,
              Projection* projection);
    StateLoss(const StateLoss&) = delete;
    StateLoss& operator=(const StateLoss&) = delete;

    const StateTerms& terms() const { return terms_; }

    /// Where a pair's teacher state [Tl, H of the teacher] of this replica's next micro-batch comes from,
    /// where it is not from the teacher's passes on this rank.
    using TeacherState = std::function<Tensor(Context&, size_t pair)>;
    void take_from(TeacherState source) { source_ = std::move(source); }

    /// On the last stage, for the micro-batch that is weighed next: its loss on logits, summed over tokens.
    void balance_with(double logits_loss) { logits_loss_ = logits_loss; }

    const StateSums& sums() const { return sums_; }  ///< last stage
    /// Bytes that a student's pass of `rows` of this rank's tokens through a virtual stage keeps for its
    /// backward pass, beside what the model keeps anyway.
    int64_t kept_bytes(int virtual_stage, int64_t rows) const;
    /// Bytes of a micro-batch's teacher states, of all pairs of this rank.
    int64_t teacher_bytes(int64_t rows) const;

    /// token_weight: of a token in the step's mean.
    void begin_step(double token_weight) {
        sums_ = {};
        token_weight_ = token_weight;
    }

    model::Observer& teacher_pass(int virtual_stage) override;
    std::unique_ptr<model::StatePass> student_pass(int virtual_stage, const Tensor& labels) override;
    double weigh(double sum, int64_t tokens) override;

private:
    class Pass;
    Tensor next_teacher_state(Context& ctx, size_t pair);
    int64_t teacher_width() const;

    StateTerms terms_;
    const model::Transformer& student_;
    Projection* projection_;
    double token_weight_ = 0;
    TeacherState source_;
    std::vector<std::vector<size_t>> pairs_of_;  // of each of this rank's virtual stages
    std::vector<model::StateWatch> teacher_;     // likewise
    std::vector<std::deque<Tensor>> seen_;       // of each pair: teacher's states not yet used
    double logits_loss_ = 0;
    StateSums sums_;
};

/// Whether each pair's teacher state is made where the student's is, with both models on one grid.
bool meet_in_pipeline(const StateTerms& terms, const model::Architecture& teacher,
                      const model::Architecture& student, int stages, int virtual_stages);

}  // namespace espalier::distill
