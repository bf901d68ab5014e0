// The head of a training step: output projection, softmax, loss and their gradients, a block of tokens and a
// part of the vocabulary at a time, so that the logits of a micro-batch never exist as a whole.
#pragma once

#include <optional>
#include <vector>

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
    /// blocks: for tests, how to go through a micro-batch; else as suits the processors.
    explicit Objective(LossTerms terms, std::optional<model::HeadBlocks> blocks = {})
        : terms_(terms), blocks_(std::move(blocks)) {}
    const LossTerms& terms() const { return terms_; }

    /// Collective over the student's tensor group. Adds the loss of one micro-batch to sums() (the same on
    /// all tensor parallel ranks) and token_weight times its gradient to the student's head gradient (+=).
    ///   student_hidden [T, H of the student]
    ///   teacher        empty without a divergence
    ///   labels [T] i32, < 0: the token does not count; all tensors on ctx's device
    /// Returns d_hidden [T, H] =, this rank's part of the sum over tensor parallel ranks. Throws UserError
    /// where top_k tokens leave none for the tail.
    Tensor backward(Context& ctx, const model::Transformer& student, const Tensor& student_hidden,
                    const Teacher& teacher, const Tensor& labels, double token_weight);

    /// Waits for what the device still has to compute of them; backward() does not.
    const LossSums& sums(Context& ctx);
    /// Forgets the sums, those of passes that sums() has not waited for included.
    void reset();

private:
    struct Block;
    model::HeadBlocks blocks_of(Context& ctx, const model::Transformer& student, int64_t tokens);
    /// First pass over the logits: log-sum-exps, logits of the labels, the most likely tokens.
    void read_logits(Context& ctx, const model::Transformer& student, const Tensor& labels,
                     TeacherBlock teacher, Block& block) const;
    /// Second pass, where a gradient needs to know of the whole row more than that.
    void compare(Context& ctx, const model::Transformer& student, Block& block) const;
    void compare_buckets(Context& ctx, const model::Transformer& student, Block& block) const;
    /// Last pass: d_hidden =, the head's gradient +=.
    void add_gradients(Context& ctx, const model::Transformer& student, const Tensor& hidden,
                       const Tensor& labels, double token_weight, Block& block, Tensor& d_hidden) const;
    Tensor d_logits(Context& ctx, const model::Transformer& student, const LossInputs& in,
                    Block& block) const;

    /// What a block of tokens adds to the sums, where it was computed.
    struct Measured {
        Tensor lse, at_label, labels;  // [rows]  the student's, at temperature 1
        Tensor divergence;             // [rows]  empty without
    };

    LossTerms terms_;
    std::optional<model::HeadBlocks> blocks_;
    std::optional<model::HeadBlocks::Storage> storage_;  // that all ranks of the tensor group agreed on
    LossSums sums_;
    std::vector<Measured> measured_;  // not yet in sums_
};

}  // namespace espalier::distill
