// The head of a training step: output projection, softmax, loss and their gradients, a block of tokens at a
// time, so that the logits of a micro-batch never exist as a whole.
#pragma once

#include "src/distill/loss_terms.hpp"
#include "src/distill/teacher.hpp"

namespace espalier::distill {

/// Sums over the tokens that count, each term before its weight.
struct LossSums {
    double divergence = 0;
    double label = 0;
    double tokens = 0;

    /// The objective's mean, where there were tokens.
    double objective(const LossTerms& terms) const;
    LossSums& operator+=(const LossSums& other);
};

class Objective {
public:
    explicit Objective(LossTerms terms) : terms_(terms) {}
    const LossTerms& terms() const { return terms_; }

    /// Adds the loss of one micro-batch to sums() (the same on all tensor parallel ranks) and token_weight
    /// times its gradient to the student's head gradient (+=).
    ///   student_hidden [T, H of the student]
    ///   teacher        empty without a divergence
    ///   labels [T] i32, < 0: the token does not count; all tensors on ctx's device
    /// Returns d_hidden [T, H] =, this rank's part of the sum over tensor parallel ranks. Throws UserError
    /// where top_k tokens leave none for the tail.
    Tensor backward(Context& ctx, const model::Transformer& student, const Tensor& student_hidden,
                    const Teacher& teacher, const Tensor& labels, double token_weight);

    /// Waits for what the device still has to compute of them; backward() does not.
    const LossSums& sums(Context& ctx);
    void reset();

private:
    struct Block;
    Block measure(Context& ctx, const model::Transformer& student, const Tensor& student_hidden,
                  const Tensor& labels, TeacherBlock teacher);
    /// The divergence of each row, over the whole vocabulary or over the top K tokens and a tail.
    Tensor compare(Context& ctx, const model::Transformer& student, TeacherBlock teacher, Block& block) const;
    Tensor compare_buckets(Context& ctx, const model::Transformer& student, TeacherBlock teacher,
                           Block& block) const;
    Tensor gradient(Context& ctx, const model::Transformer& student, Block& block, const Tensor& labels,
                    double token_weight) const;

    /// What a block of tokens adds to the sums, where it was computed.
    struct Measured {
        Tensor lse, at_label, labels;  // [rows]  the student's, at temperature 1
        Tensor divergence;             // [rows]  empty without
    };

    LossTerms terms_;
    LossSums sums_;
    std::vector<Measured> measured_;  // not yet in sums_
};

}  // namespace espalier::distill
