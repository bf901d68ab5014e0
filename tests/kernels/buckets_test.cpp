// The divergence over the teacher's K best tokens and a tail: each phase against reference, whole and split.
#include "kernels/buckets.hpp"

#include "kernels/reference/buckets.hpp"
#include "kernels/reference/top_k.hpp"
#include "kernels/top_k.hpp"
#include "tests/kernels/op_test.hpp"
#include "tests/kernels/split_vocabulary.hpp"

namespace espalier::test {
namespace {

constexpr std::array divergences{Divergence::kl,  Divergence::reverse_kl, Divergence::jsd,
                                 Divergence::tvd, Divergence::mse,        Divergence::cosine};

class Buckets : public testing::TestWithParam<VocabularyCase> {
protected:
    /// A gradient is p_s times a slope whose terms are logarithms of p of up to 32 and inverse norms of less.
    /// p of a token or tail = e^a, a a difference of numbers of up to 64 of which one or two are rounded to
    /// f32, is off by 2^-18 of itself, however small. Where labels count, p at temperature 1 is too.
    Values allowed(const LossWeights& weights, const Values& gradient) const {
        Values out;
        const Values lse = reference::log_sum_exp(student_, case_.vocab, case_.tau);
        const Values lse_1 = reference::log_sum_exp(student_, case_.vocab, 1);
        for (int64_t i = 0; i < case_.size(); ++i) {
            const int64_t row = i / case_.vocab;
            const double p = std::exp(student_[i] / case_.tau - lse[row]) +
                             (weights.label_weight != 0 ? std::exp(student_[i] - lse_1[row]) : 0.0);
            out.push_back(0x1p-17 * std::abs(gradient[i]) + 0x1p-16 * weights_[row] * p);
        }
        return out;
    }

    /// Loss and gradient, whole and split.
    void expect_reference(const LossWeights& weights, const std::string& where = "") {
        const Divergence kind = *weights.divergence;
        const Values loss =
            reference::bucket_divergence(kind, teacher_, student_, case_.vocab, case_.tau, k_);
        const Values gradient =
            reference::bucket_logit_gradient(weights, k_, teacher_, student_, labels_, weights_);
        for (const auto& bounds : {std::vector<int64_t>{0, case_.vocab}, uneven_vocabulary(case_.vocab)}) {
            const Result got = run(weights, bounds);

            for (int64_t i = 0; i < case_.rows; ++i)
                EXPECT_NEAR(got.loss[i], loss[i], 4e-6 + 4e-6 * loss[i])
                    << to_string(kind) << where << ", row " << i;
            EXPECT_TRUE(near_each(got.gradient, gradient, allowed(weights, gradient)))
                << to_string(kind) << where;
        }
    }

    /// The teacher's best tokens stand out by so much more, z / tau, on either side.
    void raise(double teacher, double student) {
        for (int64_t i = 0; i < case_.rows; ++i) {
            for (const int64_t id : reference::top_k(&teacher_[i * case_.vocab], case_.vocab, k_)) {
                teacher_[i * case_.vocab + id] += teacher * case_.tau;
                student_[i * case_.vocab + id] += student * case_.tau;
            }
        }
        teacher_ = rounded_to(DType::f32, teacher_);
        student_ = rounded_to(DType::f32, student_);
    }

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
        std::vector<Tensor> teacher, student;
        for (int64_t p = 0; p < parts; ++p) {
            const int64_t begin = bounds[static_cast<size_t>(p)], end = bounds[static_cast<size_t>(p) + 1];
            Tensor part_values = all_values.rows(p, 1).view({rows, k_}),
                   part_ids = all_ids.rows(p, 1).view({rows, k_});
            teacher.push_back(columns(ctx_, teacher_, rows, n, begin, end));
            row_top_k(ctx_, teacher.back(), begin, part_values, part_ids);
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
        const Tensor lse_1 = row(reference::log_sum_exp(student_, n, 1));
        const espalier::Buckets buckets{ids, values, tensor_of(ctx_, picked, {rows, k_}, DType::f32),
                                        tail(teacher, ids, bounds), tail(student, ids, bounds)};
        Tensor loss = ctx_.empty({rows}, DType::f32), slopes = ctx_.empty({rows, k_ + 1}, DType::f32);
        bucket_divergence(ctx_, *weights.divergence, buckets, weights.tau, loss, slopes);

        Result out{values_of(ids), values_of(loss), Values(teacher_.size())};
        const Tensor labels = tensor_of(ctx_, Values(labels_.begin(), labels_.end()), {rows}, DType::i32);
        for (int64_t p = 0; p < parts; ++p) {
            const int64_t begin = bounds[static_cast<size_t>(p)];
            Tensor& logits = student[static_cast<size_t>(p)];
            const LossInputs in{{{}, logits, {}, {}}, {}, lse_1, labels, row(weights_), begin};
            bucket_logit_gradient(ctx_, weights, in, buckets, slopes, logits);
            const Values part = values_of(logits);
            const int64_t width = logits.dim(1);
            for (int64_t i = 0; i < rows; ++i)
                std::copy_n(part.begin() + i * width, width, out.gradient.begin() + i * n + begin);
        }
        return out;
    }

    /// The log-sum-exp [rows] of the tokens that are not among ids.
    Tensor tail(const std::vector<Tensor>& logits, const Tensor& ids, const std::vector<int64_t>& bounds) {
        Tensor all = ctx_.empty({std::ssize(logits), case_.rows, 2}, DType::f32),
               lse = ctx_.empty({case_.rows}, DType::f32);
        for (int64_t p = 0; p < std::ssize(logits); ++p) {
            const auto part = static_cast<size_t>(p);
            Tensor stats = all.rows(p, 1).view({case_.rows, 2});
            tail_statistics(ctx_, logits[part], ids, bounds[part], case_.tau, stats);
        }
        softmax_combine(ctx_, all, lse);
        return lse;
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
    for (const Divergence kind : divergences) expect_reference(distil(kind));
}

TEST_P(Buckets, IdsAreTheTeachersBest) {
    for (const auto& bounds : {std::vector<int64_t>{0, case_.vocab}, uneven_vocabulary(case_.vocab)}) {
        const Result got = run(distil(Divergence::kl), bounds);

        for (int64_t i = 0; i < case_.rows; ++i) {
            const auto ids = reference::top_k(&teacher_[i * case_.vocab], case_.vocab, k_);
            for (int64_t b = 0; b < k_; ++b) EXPECT_EQ(got.ids[i * k_ + b], ids[static_cast<size_t>(b)]);
        }
    }
}

TEST_P(Buckets, TailsMayBeAsSmallAsTheyAre) {
    // e^-28 is 1e-12, far below what is left in f32 of 1 less the K tokens; labels would hide its gradient.
    for (const auto& [teacher, student] : {std::pair{28.0, 0.0}, {0.0, 28.0}, {28.0, 27.0}}) {
        raise(teacher, student);
        for (const Divergence kind : divergences) {
            LossWeights weights = distil(kind);
            weights.label_weight = 0;
            expect_reference(weights, fmt::format(", raised by {} and {}", teacher, student));
        }
        raise(-teacher, -student);
    }
}

TEST_P(Buckets, AnEmptyTailIsNothing) {
    k_ = case_.vocab;
    for (const Divergence kind : divergences) expect_reference(distil(kind));
}

TEST_P(Buckets, GradientIsFiniteWhereTheStudentGivesNothing) {
    // The teacher's likeliest tokens are nothing to the student in f32.
    for (int64_t i = 0; i < case_.rows; ++i) {
        const auto ids = reference::top_k(&teacher_[i * case_.vocab], case_.vocab, k_);
        for (const int64_t id : ids) student_[i * case_.vocab + id] = -120;
    }
    const auto weights = distil(Divergence::kl);

    const Result got = run(weights, uneven_vocabulary(case_.vocab));

    const Values gradient =
        reference::bucket_logit_gradient(weights, k_, teacher_, student_, labels_, weights_);
    EXPECT_TRUE(near_each(got.gradient, gradient, allowed(weights, gradient)));
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
