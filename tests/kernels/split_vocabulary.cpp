#include "tests/kernels/split_vocabulary.hpp"

#include <algorithm>
#include <limits>

#include "kernels/elementwise.hpp"

namespace espalier::test {

Tensor columns(Context& ctx, const Values& values, int64_t rows, int64_t n, int64_t begin, int64_t end) {
    Values part;
    for (int64_t i = 0; i < rows; ++i) {
        part.insert(part.end(), values.begin() + i * n + begin, values.begin() + i * n + end);
    }
    return tensor_of(ctx, part, {rows, end - begin}, DType::f32);
}

SplitVocabulary::SplitVocabulary(Context& ctx, std::vector<int64_t> bounds, const Values& teacher,
                                 const Values& student, int64_t rows)
    : ctx_(ctx), bounds_(std::move(bounds)), rows_(rows) {
    for (size_t part = 0; part + 1 < bounds_.size(); ++part) {
        const int64_t begin = bounds_[part], end = bounds_[part + 1], n = bounds_.back();
        teacher_.push_back(teacher.empty() && rows > 0 ? Tensor()
                                                       : columns(ctx, teacher, rows, n, begin, end));
        student_.push_back(columns(ctx, student, rows, n, begin, end));
    }
}

Tensor SplitVocabulary::log_sum_exp(Side side, float tau) {
    const auto& logits = side == Side::teacher ? teacher_ : student_;
    Tensor all = ctx_.empty({std::ssize(logits), rows_, 2}, DType::f32),
           lse = ctx_.empty({rows_}, DType::f32);
    for (int64_t part = 0; part < std::ssize(logits); ++part) {
        Tensor stats = all.rows(part, 1).view({rows_, 2});
        softmax_statistics(ctx_, logits[static_cast<size_t>(part)], tau, stats);
    }
    softmax_combine(ctx_, all, lse);
    return lse;
}

Tensor SplitVocabulary::sums(Divergence kind, float tau) {
    const Tensor lse_t = log_sum_exp(Side::teacher, tau), lse_s = log_sum_exp(Side::student, tau);
    Tensor total = ctx_.zeros({rows_, divergence_sum_count}, DType::f32);
    for (size_t part = 0; part < student_.size(); ++part) {
        Tensor sums = ctx_.empty(total.shape(), DType::f32);
        divergence_sums(ctx_, kind, {teacher_[part], student_[part], lse_t, lse_s}, tau, sums);
        accumulate(ctx_, sums, total);
    }
    return total;
}

Tensor SplitVocabulary::loss_of(Divergence kind, const Tensor& sums) {
    Tensor loss = ctx_.empty({rows_}, DType::f32);
    divergence_loss(ctx_, kind, sums, loss);
    return loss;
}

Tensor SplitVocabulary::loss(Divergence kind, float tau) {
    return loss_of(kind, sums(kind, tau));
}

LossInputs SplitVocabulary::inputs(const Objective& objective) {
    const LossWeights& weights = objective.weights;
    LossInputs in;
    if (weights.divergence) {
        in.sides.lse_t = log_sum_exp(Side::teacher, weights.tau);
        in.sides.lse_s = log_sum_exp(Side::student, weights.tau);
    }
    if (weights.label_weight != 0) in.lse_1 = log_sum_exp(Side::student, 1.0f);
    in.labels =
        tensor_of(ctx_, Values(objective.labels.begin(), objective.labels.end()), {rows_}, DType::i32);
    in.row_weights = tensor_of(ctx_, objective.row_weights, {rows_}, DType::f32);
    return in;
}

template <class Make>
Values SplitVocabulary::of_parts(LossInputs in, DType dtype, Where where, Make make) {
    Values out(rows_ * bounds_.back());
    for (size_t part = 0; part < student_.size(); ++part) {
        Tensor& student = student_[part];
        Tensor d = where == Where::in_place ? student : ctx_.empty(student.shape(), dtype);
        in.sides.teacher = teacher_[part];
        in.sides.student = student;
        in.first_id = bounds_[part];
        make(in, d);
        const Values values = values_of(d);
        const int64_t n = student.dim(1);
        for (int64_t i = 0; i < rows_; ++i) {
            std::copy_n(values.begin() + i * n, n, out.begin() + i * bounds_.back() + bounds_[part]);
        }
    }
    return out;
}

Values SplitVocabulary::gradient(const Objective& objective, DType dtype, Where where) {
    const LossWeights& weights = objective.weights;
    LossInputs of_all = inputs(objective);
    if (weights.divergence) of_all.sums = sums(*weights.divergence, weights.tau);
    return of_parts(of_all, dtype, where,
                    [&](const LossInputs& in, Tensor& d) { logit_gradient(ctx_, weights, in, d); });
}

SplitVocabulary::GradientAndLoss SplitVocabulary::kl_gradient_and_loss(const Objective& objective,
                                                                       DType dtype, Where where) {
    Tensor total = ctx_.zeros({rows_, divergence_sum_count}, DType::f32);
    Values gradient = of_parts(inputs(objective), dtype, where, [&](const LossInputs& in, Tensor& d) {
        Tensor sums = ctx_.empty(total.shape(), DType::f32);
        kl_gradient(ctx_, objective.weights, in, d, sums);
        accumulate(ctx_, sums, total);
    });
    return {std::move(gradient), values_of(loss_of(Divergence::kl, total))};
}

Values SplitVocabulary::label_logits(const std::vector<int32_t>& labels) {
    const Tensor ids = tensor_of(ctx_, Values(labels.begin(), labels.end()), {rows_}, DType::i32);
    Values out(rows_);
    for (size_t part = 0; part < student_.size(); ++part) {
        Tensor labelled = ctx_.empty({rows_}, DType::f32);
        espalier::label_logits(ctx_, student_[part], ids, bounds_[part], labelled);
        const Values values = values_of(labelled);
        for (size_t i = 0; i < out.size(); ++i) out[i] += values[i];
    }
    return out;
}

Values SplitVocabulary::argmax() {
    Values value(rows_, -std::numeric_limits<double>::infinity()), id(rows_, -1);
    for (size_t part = 0; part < student_.size(); ++part) {
        Tensor best = ctx_.empty({rows_, 2}, DType::f32);
        row_argmax(ctx_, student_[part], bounds_[part], best);
        const Values values = values_of(best);
        for (int64_t i = 0; i < rows_; ++i) {
            if (values[2 * i] <= value[i]) continue;
            value[i] = values[2 * i];
            id[i] = values[2 * i + 1];
        }
    }
    return id;
}

}  // namespace espalier::test
