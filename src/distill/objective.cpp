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

/// A block of tokens: its logits, a part of this rank's vocabulary at a time, and what is known of its rows.
struct Objective::Block {
    model::LogitParts student, teacher;  // the teacher's only for a divergence over the whole vocabulary
    int64_t rows = 0;
    Tensor lse_1, at_label;  // [rows]  the student's at temperature 1
    Tensor lse_s, lse_t;     // [rows]  at the temperature
    Tensor sums;             // [rows, divergence_sum_count]  over all ranks
    Tensor divergence;       // [rows]
    Buckets buckets;         // of the top K tokens
    Tensor slopes;           // [rows, K + 1]  theirs

    /// Where a part of the statistics goes.
    Tensor of_part(const Tensor& stats, int64_t part) const { return stats.rows(part, 1).view({rows, 2}); }
    Tensor statistics(Context& ctx) const { return ctx.empty({student.count(), rows, 2}, DType::f32); }
};

namespace {

/// Whether the gradient is made of nothing but both log-probabilities; the loss is summed up beside it then.
bool is_local(const LossTerms& terms) {
    return terms.top_k == 0 && terms.divergence == Divergence::kl;
}

bool is_whole(const LossTerms& terms) {
    return terms.divergence && terms.top_k == 0;
}

/// Of sums over all parts.
Tensor loss_of(Context& ctx, const comm::Communicator& tensor, Divergence kind, Tensor& sums) {
    tensor.all_reduce(ctx, sums);
    Tensor loss = ctx.empty({sums.dim(0)}, DType::f32);
    divergence_loss(ctx, kind, sums, loss);
    return loss;
}

}  // namespace

model::HeadBlocks Objective::blocks_of(Context& ctx, const Transformer& student, int64_t tokens) {
    if (blocks_) return *blocks_;
    const auto& tensor = student.tensor();
    if (!storage_) {
        using enum model::HeadBlocks::Storage;
        storage_ =
            tensor.any(model::head_storage(ctx.device(), student.dtype()) == kept) ? kept : computed_again;
    }
    return model::head_blocks(student.architecture(), ctx.device(), student.dtype(), tensor.size(), tokens,
                              *storage_);
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

void Objective::read_logits(Context& ctx, const Transformer& student, const Tensor& labels,
                            TeacherBlock teacher, Block& block) const {
    const auto tau = static_cast<float>(terms_.temperature);
    const auto& tensor = student.tensor();
    const bool whole = is_whole(terms_), at_tau = whole && tau != 1.0f;
    Tensor of_student = at_tau ? block.statistics(ctx) : Tensor(),
           of_teacher = whole ? block.statistics(ctx) : Tensor();
    const auto read = [&](const Tensor& z, Tensor& stats, int64_t part) {
        Tensor of_part = block.of_part(stats, part);
        softmax_statistics(ctx, z, tau, of_part);
    };
    const auto at_1 = model::read_labels(ctx, tensor, block.student, labels, [&](int64_t p, const Tensor& z) {
        if (at_tau) read(z, of_student, p);
        if (whole) read(block.teacher.get(ctx, p), of_teacher, p);
    });
    block.lse_1 = at_1.lse;
    block.at_label = at_1.at_label;
    block.lse_s = at_tau ? model::join_statistics(ctx, tensor, of_student) : block.lse_1;
    if (whole) block.lse_t = model::join_statistics(ctx, tensor, of_teacher);
    if (!terms_.divergence || whole) return;
    if (teacher.logits) teacher = top_tokens(ctx, tensor, block.teacher, block.rows, terms_.top_k, tau);
    block.buckets = {teacher.top_ids, teacher.top_values, {}, teacher.tail, {}};
}

void Objective::compare(Context& ctx, const Transformer& student, Block& block) const {
    if (terms_.top_k > 0) return compare_buckets(ctx, student, block);
    const auto tau = static_cast<float>(terms_.temperature);
    block.sums = ctx.zeros({block.rows, divergence_sum_count}, DType::f32);
    for (int64_t p = 0; p < block.student.count(); ++p) {
        Tensor of_part = ctx.empty(block.sums.shape(), DType::f32);
        divergence_sums(ctx, *terms_.divergence,
                        {block.teacher.get(ctx, p), block.student.get(ctx, p), block.lse_t, block.lse_s}, tau,
                        of_part);
        accumulate(ctx, of_part, block.sums);
    }
    block.divergence = loss_of(ctx, student.tensor(), *terms_.divergence, block.sums);
}

void Objective::compare_buckets(Context& ctx, const Transformer& student, Block& block) const {
    const int64_t rows = block.rows, k = terms_.top_k;
    const auto tau = static_cast<float>(terms_.temperature);
    const auto& tensor = student.tensor();
    Buckets& buckets = block.buckets;
    Tensor tails = block.statistics(ctx), picked = ctx.empty({rows, k}, DType::f32);
    buckets.student = ctx.zeros({rows, k}, DType::f32);
    for (int64_t p = 0; p < block.student.count(); ++p) {
        const Tensor z = block.student.get(ctx, p);
        const int64_t first_id = block.student.first_id(p);
        pick_logits(ctx, z, buckets.ids, first_id, picked);
        accumulate(ctx, picked, buckets.student);
        Tensor tail = block.of_part(tails, p);
        tail_statistics(ctx, z, buckets.ids, first_id, tau, tail);
    }
    tensor.all_reduce(ctx, buckets.student);
    buckets.tail_s = model::join_statistics(ctx, tensor, tails);
    block.slopes = ctx.empty({rows, k + 1}, DType::f32);
    block.divergence = ctx.empty({rows}, DType::f32);
    bucket_divergence(ctx, *terms_.divergence, buckets, tau, block.divergence, block.slopes);
}

/// Of the student's logits before their cap, if they have one; else in place where their dtype is that of the
/// products. Where sums come with the gradient, they are added to the block's.
Tensor Objective::d_logits(Context& ctx, const Transformer& student, const LossInputs& in,
                           Block& block) const {
    const LossWeights weights{.divergence = terms_.divergence,
                              .tau = static_cast<float>(terms_.temperature),
                              .divergence_weight = static_cast<float>(terms_.divergence_weight),
                              .label_weight = static_cast<float>(terms_.label_weight)};
    const Tensor& logits = in.sides.student;
    const float cap = student.architecture().final_soft_cap;
    Tensor out =
        student.dtype() == DType::f32 && cap == 0 ? logits : ctx.empty(logits.shape(), student.dtype());
    if (block.slopes) {
        bucket_logit_gradient(ctx, weights, in, block.buckets, block.slopes, out);
    } else if (is_local(terms_)) {
        Tensor of_part = ctx.empty(block.sums.shape(), DType::f32);
        kl_gradient(ctx, weights, in, out, of_part);
        accumulate(ctx, of_part, block.sums);
    } else {
        logit_gradient(ctx, weights, in, out);
    }
    if (cap > 0) soft_cap_backward(ctx, cap, logits, out);
    return out;
}

void Objective::add_gradients(Context& ctx, const Transformer& student, const Tensor& hidden,
                              const Tensor& labels, double token_weight, Block& block,
                              Tensor& d_hidden) const {
    const int64_t parts = block.student.count();
    Tensor row_weights = ctx.empty({block.rows}, DType::f32);
    fill(ctx, static_cast<float>(token_weight), row_weights);
    clear_unscored(ctx, labels, row_weights);
    const bool direct = parts == 1 || d_hidden.dtype() == DType::f32;
    Tensor sum = direct ? d_hidden : ctx.empty(d_hidden.shape(), DType::f32);
    Tensor head_gradient = student.head_gradient(), bias_gradient = student.head_bias_gradient();
    if (is_local(terms_)) block.sums = ctx.zeros({block.rows, divergence_sum_count}, DType::f32);
    for (int64_t p = 0; p < parts; ++p) {
        const Range columns = block.student.columns(p);
        LossInputs in{{{}, block.student.take(ctx, p), block.lse_t, block.lse_s},
                      block.sums,
                      block.lse_1,
                      labels,
                      row_weights,
                      block.student.first_id(p)};
        if (is_whole(terms_)) in.sides.teacher = block.teacher.take(ctx, p);
        const Tensor d_part = d_logits(ctx, student, in, block);
        matmul_backward_input(ctx, d_part, student.head().rows(columns.begin, columns.size()), sum,
                              p == 0 ? Store::overwrite : Store::accumulate);
        Tensor d_head = head_gradient.rows(columns.begin, columns.size());
        matmul_backward_weight(ctx, d_part, hidden, d_head);
        if (bias_gradient) {
            Tensor d_bias = bias_gradient.slice(columns.begin, {columns.size()});
            bias_backward(ctx, d_part, d_bias);
        }
    }
    if (!direct) convert(ctx, sum, d_hidden);
    if (is_local(terms_)) block.divergence = loss_of(ctx, student.tensor(), *terms_.divergence, block.sums);
}

Tensor Objective::backward(Context& ctx, const Transformer& student, const Tensor& student_hidden,
                           const Teacher& teacher, const Tensor& labels, double token_weight) {
    const Timed timed = ctx.computing();
    const int64_t k = terms_.divergence ? terms_.top_k : 0, vocab = student.architecture().vocab;
    ESPALIER_REQUIRE(k < vocab, "--top-k {}: the student has {} tokens; choose fewer, or 0 for all of them",
                     k, vocab);
    Tensor d_hidden = ctx.empty(student_hidden.shape(), student_hidden.dtype());
    const auto blocks = blocks_of(ctx, student, student_hidden.dim(0));
    const auto parts_of = [&](const model::LogitParts::Source& source) {
        return model::LogitParts(source, student.vocabulary(), blocks.parts, blocks.storage);
    };
    for (const Range tokens : blocks.tokens) {
        const int64_t begin = tokens.begin, rows = tokens.size();
        const Tensor hidden = student_hidden.rows(begin, rows), label = labels.rows(begin, rows);
        TeacherBlock of_teacher = terms_.divergence ? teacher(ctx, begin, rows) : TeacherBlock{};
        Block block;
        block.rows = rows;
        block.student =
            parts_of([&](Context& c, Range columns) { return model::logits(c, student, hidden, columns); });
        if (of_teacher.logits) block.teacher = parts_of(of_teacher.logits);
        read_logits(ctx, student, label, std::move(of_teacher), block);
        if (terms_.divergence && !is_local(terms_)) compare(ctx, student, block);
        Tensor d_block = d_hidden.rows(begin, rows);
        add_gradients(ctx, student, hidden, label, token_weight, block, d_block);
        measured_.push_back({block.lse_1, block.at_label, label, block.divergence});
    }
    return d_hidden;
}

}  // namespace espalier::distill
