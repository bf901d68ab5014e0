// The divergence over the teacher's K best tokens and a tail: each phase against reference, whole and split.
#include "kernels/buckets.hpp"

#include "kernels/reference/buckets.hpp"
#include "kernels/reference/top_k.hpp"
#include "kernels/top_k.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

constexpr std::array divergences{Divergence::kl, Divergence::reverse_kl, Divergence::jsd, Divergence::mse,
                                 Divergence::cosine};

/// Columns [begin, end) of values [rows, n].
Tensor columns(Context& ctx, const Values& values, int64_t rows, int64_t n, int64_t begin, int64_t end) {
    Values part;
    for (int64_t i = 0; i < rows; ++i)
        part.insert(part.end(), values.begin() + i * n + begin, values.begin() + i * n + end);
    return tensor_of(ctx, part, {rows, end - begin}, DType::f32);
}

class Buckets : public testing::TestWithParam<VocabularyCase> {
protected:
    /// p = e^a with a near 16 rounded to f32 is off by 2^-20 of itself, a tail that is 1 less the rest by as
    /// much of 1, and a slope of the tail divides by it.
    static double rounding_of(double gradient) { return 1e-4 * std::abs(gradient) + 3e-5; }

    struct Result {
        Values ids, loss, gradient;
    };

    Buckets() {
        for (int64_t i = 0; i < case_.rows; ++i) {
            labels_.push_back(i % 3 == 1 ? -1 : static_cast<int32_t>((i * 7919 + 3) % case_.vocab));
            weights_.push_back(i % 4 == 3 ? 0.0 : 0.25 + static_cast<double>(i % 5));
        }
        weights_ = rounded_to(DType::f32, weights_);
    }

    /// All phases over the parts between `bounds`, and what a rank's part of the gradient is, put together.
    Result run(const LossWeights& weights, const std::vector<int64_t>& bounds) {
        const int64_t rows = case_.rows, n = case_.vocab, parts = std::ssize(bounds) - 1;
        Tensor all_values = ctx_.empty({parts, rows, k_}, DType::f32),
               all_ids = ctx_.empty({parts, rows, k_}, DType::i32),
               values = ctx_.empty({rows, k_}, DType::f32), ids = ctx_.empty({rows, k_}, DType::i32);
        std::vector<Tensor> student;
        for (int64_t p = 0; p < parts; ++p) {
            const int64_t begin = bounds[static_cast<size_t>(p)], end = bounds[static_cast<size_t>(p) + 1];
            Tensor part_values = all_values.rows(p, 1).view({rows, k_}),
                   part_ids = all_ids.rows(p, 1).view({rows, k_});
            row_top_k(ctx_, columns(ctx_, teacher_, rows, n, begin, end), begin, part_values, part_ids);
            student.push_back(columns(ctx_, student_, rows, n, begin, end));
        }
        merge_top_k(ctx_, all_values, all_ids, values, ids);

        Values picked(static_cast<size_t>(rows * k_), 0.0);
        for (int64_t p = 0; p < parts; ++p) {
            Tensor part = ctx_.empty({rows, k_}, DType::f32);
            pick_logits(ctx_, student[static_cast<size_t>(p)], ids, bounds[static_cast<size_t>(p)], part);
            const Values here = values_of(part);
            for (size_t i = 0; i < picked.size(); ++i) picked[i] += here[i];
        }
        const auto row = [&](const Values& v) { return tensor_of(ctx_, v, {rows}, DType::f32); };
        const Tensor lse_t = row(reference::log_sum_exp(teacher_, n, case_.tau)),
                     lse_s = row(reference::log_sum_exp(student_, n, case_.tau)),
                     lse_1 = row(reference::log_sum_exp(student_, n, 1));
        Tensor loss = ctx_.empty({rows}, DType::f32), slopes = ctx_.empty({rows, k_ + 1}, DType::f32);
        bucket_divergence(ctx_, *weights.divergence,
                          {values, tensor_of(ctx_, picked, {rows, k_}, DType::f32), lse_t, lse_s},
                          weights.tau, loss, slopes);

        Result out{values_of(ids), values_of(loss), Values(teacher_.size())};
        const Tensor labels = tensor_of(ctx_, Values(labels_.begin(), labels_.end()), {rows}, DType::i32);
        for (int64_t p = 0; p < parts; ++p) {
            const int64_t begin = bounds[static_cast<size_t>(p)];
            Tensor& logits = student[static_cast<size_t>(p)];
            const LossInputs in{{{}, logits, {}, lse_s}, {}, lse_1, labels, row(weights_), begin};
            bucket_logit_gradient(ctx_, weights, in, ids, slopes, logits);
            const Values part = values_of(logits);
            const int64_t width = logits.dim(1);
            for (int64_t i = 0; i < rows; ++i)
                std::copy_n(part.begin() + i * width, width, out.gradient.begin() + i * n + begin);
        }
        return out;
    }

    std::vector<int64_t> uneven() const {
        const int64_t cut = (2 * case_.vocab + 2) / 3;
        return {0, cut, cut, case_.vocab};
    }
    LossWeights distil(Divergence kind) const { return {kind, case_.tau, 0.75f, 0.5f}; }

    VocabularyCase case_ = GetParam();
    int64_t k_ = std::min<int64_t>(4, case_.vocab);
    Context ctx_{on_test_device(2)};
    Values teacher_ = rounded_to(DType::f32, random_values(case_.size(), 1, 3.0));
    Values student_ = rounded_to(DType::f32, sum_of(random_values(case_.size(), 2), teacher_));
    std::vector<int32_t> labels_;
    Values weights_;
};

TEST_P(Buckets, MatchesReferenceWholeAndSplit) {
    for (const auto& bounds : {std::vector<int64_t>{0, case_.vocab}, uneven()}) {
        for (const Divergence kind : divergences) {
            const auto weights = distil(kind);

            const Result got = run(weights, bounds);

            const Values loss =
                reference::bucket_divergence(kind, teacher_, student_, case_.vocab, case_.tau, k_);
            const Values gradient =
                reference::bucket_logit_gradient(weights, k_, teacher_, student_, labels_, weights_);
            for (int64_t i = 0; i < case_.rows; ++i) {
                const auto ids = reference::top_k(&teacher_[i * case_.vocab], case_.vocab, k_);
                for (int64_t b = 0; b < k_; ++b) EXPECT_EQ(got.ids[i * k_ + b], ids[static_cast<size_t>(b)]);
                // A tail is 1 less what lse, rounded to f32 near 16, makes of the others.
                EXPECT_NEAR(got.loss[i], loss[i], 2e-5 + 2e-5 * loss[i]) << to_string(kind) << " " << i;
            }
            Values allowed;
            for (const double g : gradient) allowed.push_back(rounding_of(g));
            EXPECT_TRUE(near_each(got.gradient, gradient, allowed)) << to_string(kind);
        }
    }
}

TEST_P(Buckets, GradientIsFiniteWhereTheStudentGivesNothing) {
    // The teacher's likeliest tokens are nothing to the student in f32.
    for (int64_t i = 0; i < case_.rows; ++i) {
        const auto ids = reference::top_k(&teacher_[i * case_.vocab], case_.vocab, k_);
        for (const int64_t id : ids) student_[i * case_.vocab + id] = -120;
    }
    if (k_ == case_.vocab) return;  // then all are as likely as before
    const auto weights = distil(Divergence::kl);

    const Result got = run(weights, uneven());

    const Values gradient =
        reference::bucket_logit_gradient(weights, k_, teacher_, student_, labels_, weights_);
    for (int64_t i = 0; i < case_.rows; ++i) {
        const auto ids = reference::top_k(&teacher_[i * case_.vocab], case_.vocab, k_);
        for (const int64_t id : ids) {
            const int64_t at = i * case_.vocab + id;
            EXPECT_NEAR(got.gradient[at], gradient[at], rounding_of(gradient[at]));
        }
    }
}

class BucketsReference : public Buckets {};

TEST_P(BucketsReference, GradientsAreFiniteDifferences) {
    for (const Divergence kind : divergences) {
        const auto weights = distil(kind);

        const Values gradient =
            reference::bucket_logit_gradient(weights, k_, teacher_, student_, labels_, weights_);

        const auto loss = [&](const Values& student) {
            const Values d =
                reference::bucket_divergence(kind, teacher_, student, case_.vocab, case_.tau, k_);
            const Values ce = reference::cross_entropy(student, labels_, case_.vocab);
            return double{weights.divergence_weight} * inner_product(weights_, d) +
                   double{weights.label_weight} * inner_product(weights_, ce);
        };
        EXPECT_TRUE(near_all(gradient, numeric_gradient(loss, student_), numeric_tolerance))
            << to_string(kind);
    }
}

constexpr std::array cases{
    VocabularyCase{"by_hand", 3, 11, 1.0f},
    VocabularyCase{"by_hand_warm", 2, 13, 2.5f},
    VocabularyCase{"odd_and_wide", 5, 5003, 0.7f},
    VocabularyCase{"no_rows", 0, 100, 1.0f},
};
INSTANTIATE_TEST_SUITE_P(Cases, Buckets, testing::ValuesIn(cases), parameter_name);
INSTANTIATE_TEST_SUITE_P(SmallCases, BucketsReference, testing::ValuesIn(up_to(small_size, cases)),
                         parameter_name);

}  // namespace
}  // namespace espalier::test
