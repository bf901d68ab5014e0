#include "src/distill/objective.hpp"

#include <algorithm>

#include "kernels/buckets.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/matmul.hpp"
#include "kernels/soft_cap.hpp"
#include "kernels/top_k.hpp"
#include "src/model/logits.hpp"

namespace espalier::distill {

using model::Transformer;

double LossSums::objective(const LossTerms& terms) const {
    if (tokens == 0) return 0;
    return ((terms.divergence ? terms.divergence_weight * divergence : 0.0) + terms.label_weight * label) /
           tokens;
}

LossSums& LossSums::operator+=(const LossSums& other) {
    divergence += other.divergence;
    label += other.label;
    tokens += other.tokens;
    return *this;
}

/// Logits of a block of tokens and what their gradient needs; V = vocabulary of this rank.
struct Objective::Block {
    Sides sides;      // [rows, V] f32, [rows]  at the temperature; without a divergence logits alone
    Tensor lse_1;     // [rows]  the student's at 1
    Tensor sums;      // [rows, divergence_sum_count]
    Buckets buckets;  // of the top K tokens, in place of all of sides but the student's logits, and of sums
    Tensor slopes;    // [rows, K + 1]  theirs
};

Objective::Block Objective::measure(Context& ctx, const Transformer& student, const Tensor& student_hidden,
                                    const Tensor& labels, TeacherBlock teacher) {
    const auto& tensor = student.tensor();
    Block block;
    block.sides.student = model::logits(ctx, student, student_hidden);
    const Tensor& logits = block.sides.student;
    block.lse_1 = model::log_sum_exp(ctx, tensor, logits, 1.0f);
    measured_.push_back(
        {block.lse_1, model::labelled_logits(ctx, tensor, logits, labels, student.vocabulary().begin), labels,
         terms_.divergence ? compare(ctx, student, std::move(teacher), block) : Tensor()});
    return block;
}

const LossSums& Objective::sums(Context& ctx) {
    const Timed timed = ctx.computing();
    for (const Measured& m : measured_) {
        const Tensor lse = ctx.to_host(m.lse), at_label = ctx.to_host(m.at_label),
                     labels = ctx.to_host(m.labels),
                     divergence = m.divergence ? ctx.to_host(m.divergence) : Tensor();
        for (int64_t i = 0; i < labels.size(); ++i) {
            if (labels.data<int32_t>()[i] < 0) continue;
            sums_.tokens += 1;
            sums_.label +=
                static_cast<double>(lse.data<float>()[i]) - static_cast<double>(at_label.data<float>()[i]);
            if (divergence) sums_.divergence += static_cast<double>(divergence.data<float>()[i]);
        }
    }
    measured_.clear();
    return sums_;
}

void Objective::reset() {
    sums_ = {};
    measured_.clear();
}

Tensor Objective::compare(Context& ctx, const Transformer& student, TeacherBlock teacher,
                          Block& block) const {
    if (terms_.top_k > 0) return compare_buckets(ctx, student, std::move(teacher), block);
    Sides& sides = block.sides;
    const int64_t rows = sides.student.dim(0);
    const auto tau = static_cast<float>(terms_.temperature);
    const auto& tensor = student.tensor();
    sides.teacher = teacher.logits;
    sides.lse_s = tau == 1.0f ? block.lse_1 : model::log_sum_exp(ctx, tensor, sides.student, tau);
    sides.lse_t = model::log_sum_exp(ctx, tensor, sides.teacher, tau);
    block.sums = ctx.empty({rows, divergence_sum_count}, DType::f32);
    divergence_sums(ctx, *terms_.divergence, sides, tau, block.sums);
    tensor.all_reduce(ctx, block.sums);
    Tensor loss = ctx.empty({rows}, DType::f32);
    divergence_loss(ctx, *terms_.divergence, block.sums, loss);
    return loss;
}

Tensor Objective::compare_buckets(Context& ctx, const Transformer& student, TeacherBlock teacher,
                                  Block& block) const {
    const Tensor& logits = block.sides.student;
    const int64_t rows = logits.dim(0), k = terms_.top_k, first_id = student.vocabulary().begin,
                  vocab = student.architecture().vocab;
    const auto tau = static_cast<float>(terms_.temperature);
    const auto& tensor = student.tensor();
    ESPALIER_REQUIRE(k < vocab, "--top-k {}: the student has {} tokens; choose fewer, or 0 for all of them",
                     k, vocab);
    if (teacher.logits) teacher = top_tokens(ctx, tensor, teacher.logits, first_id, k, tau);
    Tensor picked = ctx.empty({rows, k}, DType::f32);
    pick_logits(ctx, logits, teacher.top_ids, first_id, picked);
    tensor.all_reduce(ctx, picked);
    block.buckets = {teacher.top_ids, teacher.top_values, picked, teacher.tail,
                     model::tail_log_sum_exp(ctx, tensor, logits, teacher.top_ids, first_id, tau)};
    block.slopes = ctx.empty({rows, k + 1}, DType::f32);
    Tensor loss = ctx.empty({rows}, DType::f32);
    bucket_divergence(ctx, *terms_.divergence, block.buckets, tau, loss, block.slopes);
    return loss;
}

/// Of the student's logits before their cap, if they have one; else in place where their dtype is that of the
/// products.
Tensor Objective::gradient(Context& ctx, const Transformer& student, Block& block, const Tensor& labels,
                           double token_weight) const {
    const LossWeights weights{.divergence = terms_.divergence,
                              .tau = static_cast<float>(terms_.temperature),
                              .divergence_weight = static_cast<float>(terms_.divergence_weight),
                              .label_weight = static_cast<float>(terms_.label_weight)};
    Tensor row_weights = ctx.empty({labels.dim(0)}, DType::f32);
    fill(ctx, static_cast<float>(token_weight), row_weights);
    clear_unscored(ctx, labels, row_weights);
    const Tensor& logits = block.sides.student;
    const float cap = student.architecture().final_soft_cap;
    Tensor d_logits =
        student.dtype() == DType::f32 && cap == 0 ? logits : ctx.empty(logits.shape(), student.dtype());
    const LossInputs in{block.sides, block.sums,  block.lse_1,
                        labels,      row_weights, student.vocabulary().begin};
    if (block.slopes) {
        bucket_logit_gradient(ctx, weights, in, block.buckets, block.slopes, d_logits);
    } else {
        logit_gradient(ctx, weights, in, d_logits);
    }
    if (cap > 0) soft_cap_backward(ctx, cap, logits, d_logits);
    return d_logits;
}

Tensor Objective::backward(Context& ctx, const Transformer& student, const Tensor& student_hidden,
                           const Teacher& teacher, const Tensor& labels, double token_weight) {
    const Timed timed = ctx.computing();
    Tensor d_hidden = ctx.empty(student_hidden.shape(), student_hidden.dtype());
    Tensor head_gradient = student.head_gradient(), bias_gradient = student.head_bias_gradient();
    for (const Range part : model::logit_blocks(student.architecture(), ctx.device(), student.tensor().size(),
                                                student_hidden.dim(0))) {
        const int64_t begin = part.begin, rows = part.size();
        const Tensor hidden = student_hidden.rows(begin, rows), label = labels.rows(begin, rows);
        Block block = measure(ctx, student, hidden, label,
                              terms_.divergence ? teacher(ctx, begin, rows) : TeacherBlock{});
        const Tensor d_logits = gradient(ctx, student, block, label, token_weight);
        Tensor d_block = d_hidden.rows(begin, rows);
        matmul_backward_input(ctx, d_logits, student.head(), d_block);  // d_hidden =
        matmul_backward_weight(ctx, d_logits, hidden, head_gradient);   // d head +=
        if (bias_gradient) bias_backward(ctx, d_logits, bias_gradient);
    }
    return d_hidden;
}

}  // namespace espalier::distill
