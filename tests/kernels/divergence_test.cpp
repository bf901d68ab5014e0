// Losses over a vocabulary: each phase against reference, whole and split over ranks.
#include "kernels/divergence.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference/divergence.hpp"
#include "tests/kernels/op_test.hpp"
#include "tests/kernels/split_vocabulary.hpp"

namespace espalier::test {
namespace {

constexpr std::array divergences{Divergence::kl,  Divergence::reverse_kl, Divergence::jsd,
                                 Divergence::tvd, Divergence::mse,        Divergence::cosine};

class Vocabulary : public testing::TestWithParam<VocabularyCase> {
protected:
    Vocabulary() {
        for (int64_t i = 0; i < case_.rows; ++i) {
            labels_.push_back(i % 3 == 1 ? -1 : static_cast<int32_t>((i * 7919 + 3) % case_.vocab));
            weights_.push_back(i % 4 == 3 ? 0.0 : 0.25 + static_cast<double>(i % 5));
        }
        weights_ = rounded_to(DType::f32, weights_);
    }

    Objective objective(LossWeights weights) const { return {weights, labels_, weights_}; }
    Values expected_gradient(const LossWeights& weights) const {
        return reference::logit_gradient(weights, teacher_, student_, labels_, weights_);
    }
    LossWeights distil(Divergence kind, float label_weight) const {
        return {kind, case_.tau, 0.75f, label_weight};
    }

    /// A gradient is p_s times a slope whose terms are up to 8 here (log ratios, inverse norms), and p = e^a
    /// with a = z / tau - lse, a difference of numbers near 16, so off by 2^-20 and more by its two
    /// roundings.
    Values allowed(const Values& gradient) const {
        Values out = gradient;
        const Values lse = reference::log_sum_exp(student_, case_.vocab, case_.tau);
        const Values lse_1 = reference::log_sum_exp(student_, case_.vocab, 1);
        for (int64_t i = 0; i < case_.size(); ++i) {
            const int64_t row = i / case_.vocab;
            const double p =
                std::exp(student_[i] / case_.tau - lse[row]) + std::exp(student_[i] - lse_1[row]);
            out[i] = 0x1p-18 * std::abs(gradient[i]) + 0x1p-17 * weights_[row] * p;
        }
        return out;
    }

    /// Of 1, which the cosine is taken from; the others' losses are of that size or their sums' size.
    static double loss_error(double loss) { return 4e-6 + 1e-5 * loss; }

    VocabularyCase case_ = GetParam();
    Context ctx_{on_test_device(2)};
    Values teacher_ = rounded_to(DType::f32, random_values(case_.size(), 1, 3.0));
    Values student_ = rounded_to(DType::f32, sum_of(random_values(case_.size(), 2), teacher_));
    std::vector<int32_t> labels_;
    Values weights_;
};

TEST_P(Vocabulary, LogSumExpMatchesReferenceWholeAndSplit) {
    const Values expected = reference::log_sum_exp(student_, case_.vocab, case_.tau);
    for (const auto& split : {whole_vocabulary(case_.vocab), uneven_vocabulary(case_.vocab)}) {
        SplitVocabulary logits(ctx_, split, teacher_, student_, case_.rows);

        const Tensor lse = logits.log_sum_exp(Side::student, case_.tau);

        EXPECT_TRUE(near_all(lse, expected, tolerance(test_device(), DType::f32)));
    }
}

TEST_P(Vocabulary, LossesMatchReferenceWholeAndSplit) {
    for (const auto& split : {whole_vocabulary(case_.vocab), uneven_vocabulary(case_.vocab)}) {
        for (const Divergence kind : divergences) {
            SplitVocabulary logits(ctx_, split, teacher_, student_, case_.rows);

            const Tensor loss = logits.loss(kind, case_.tau);

            const Values expected = reference::divergence(kind, teacher_, student_, case_.vocab, case_.tau);
            for (size_t i = 0; i < expected.size(); ++i) {
                EXPECT_NEAR(values_of(loss)[i], expected[i], loss_error(expected[i]))
                    << to_string(kind) << " of row " << i;
            }
        }
    }
}

TEST_P(Vocabulary, GradientsMatchReferenceWholeAndSplit) {
    for (const auto& split : {whole_vocabulary(case_.vocab), uneven_vocabulary(case_.vocab)}) {
        for (const Divergence kind : divergences) {
            for (const float label_weight : {0.0f, 0.5f}) {
                const LossWeights weights = distil(kind, label_weight);
                SplitVocabulary logits(ctx_, split, teacher_, student_, case_.rows);

                const Values gradient = logits.gradient(objective(weights), DType::f32, Where::apart);

                const Values expected = expected_gradient(weights);
                EXPECT_TRUE(near_each(gradient, expected, allowed(expected)))
                    << to_string(kind) << ", labels by " << label_weight;
            }
        }
    }
}

TEST_P(Vocabulary, TheSumsOfKlComeWithItsGradient) {
    for (const auto& split : {whole_vocabulary(case_.vocab), uneven_vocabulary(case_.vocab)}) {
        for (const float label_weight : {0.0f, 0.5f}) {
            for (const Where where : {Where::apart, Where::in_place}) {
                const LossWeights weights = distil(Divergence::kl, label_weight);
                SplitVocabulary logits(ctx_, split, teacher_, student_, case_.rows);

                const auto [gradient, loss] =
                    logits.kl_gradient_and_loss(objective(weights), DType::f32, where);

                const Values expected = expected_gradient(weights);
                EXPECT_TRUE(near_each(gradient, expected, allowed(expected))) << "labels by " << label_weight;
                const Values losses =
                    reference::divergence(Divergence::kl, teacher_, student_, case_.vocab, case_.tau);
                for (size_t i = 0; i < losses.size(); ++i) {
                    const double of_row = weights_[i] == 0 ? 0 : losses[i];
                    EXPECT_NEAR(loss[i], of_row, loss_error(losses[i])) << "row " << i;
                }
            }
        }
    }
}

TEST_P(Vocabulary, CrossEntropyAloneNeedsNoTeacher) {
    const LossWeights weights{std::nullopt, 1.0f, 0.0f, 0.5f};
    for (const auto& split : {whole_vocabulary(case_.vocab), uneven_vocabulary(case_.vocab)}) {
        SplitVocabulary logits(ctx_, split, {}, student_, case_.rows);

        const Values gradient = logits.gradient(objective(weights), DType::f32, Where::apart);

        const Values expected = expected_gradient(weights);
        EXPECT_TRUE(near_each(gradient, expected, allowed(expected)));
    }
}

TEST_P(Vocabulary, GradientsMayOverwriteTheStudentAndBeRoundedToBf16) {
    for (const Divergence kind : divergences) {
        const auto goal = objective(distil(kind, 0.5f));
        const auto split = whole_vocabulary(case_.vocab);

        const Values apart = SplitVocabulary(ctx_, split, teacher_, student_, case_.rows)
                                 .gradient(goal, DType::f32, Where::apart);
        const Values in_place = SplitVocabulary(ctx_, split, teacher_, student_, case_.rows)
                                    .gradient(goal, DType::f32, Where::in_place);
        const Values rounded = SplitVocabulary(ctx_, split, teacher_, student_, case_.rows)
                                   .gradient(goal, DType::bf16, Where::apart);
        if (kind == Divergence::kl) {
            const Values with_sums = SplitVocabulary(ctx_, split, teacher_, student_, case_.rows)
                                         .kl_gradient_and_loss(goal, DType::bf16, Where::apart)
                                         .gradient;
            EXPECT_TRUE(near_all(with_sums, rounded_to(DType::bf16, apart), {0x1p-7, 0}));
        }

        EXPECT_EQ(in_place, apart) << to_string(kind);
        EXPECT_TRUE(near_all(rounded, rounded_to(DType::bf16, apart), {0x1p-7, 0}))
            << to_string(kind) << ": more than a neighbouring bf16";
    }
}

class VocabularyReference : public Vocabulary {};

TEST_P(VocabularyReference, GradientsAreFiniteDifferences) {
    for (const Divergence kind : divergences) {
        const LossWeights weights = distil(kind, 0.5f);

        const Values gradient = expected_gradient(weights);

        const auto loss = [&](const Values& student) {
            const Values d = reference::divergence(kind, teacher_, student, case_.vocab, case_.tau);
            const Values ce = reference::cross_entropy(student, labels_, case_.vocab);
            return double{weights.divergence_weight} * inner_product(weights_, d) +
                   double{weights.label_weight} * inner_product(weights_, ce);
        };
        EXPECT_TRUE(near_all(gradient, numeric_gradient(loss, student_), numeric_tolerance))
            << to_string(kind);
    }
}

TEST_P(Vocabulary, LabelLogitsAndArgmaxAreFoundWhereTheyAre) {
    for (const auto& split : {whole_vocabulary(case_.vocab), uneven_vocabulary(case_.vocab)}) {
        SplitVocabulary logits(ctx_, split, teacher_, student_, case_.rows);

        const Values labelled = logits.label_logits(labels_), best = logits.argmax();

        for (int64_t i = 0; i < case_.rows; ++i) {
            const double* const row = &student_[i * case_.vocab];
            EXPECT_EQ(labelled[i], labels_[i] < 0 ? 0.0 : row[labels_[i]]);
            EXPECT_EQ(best[i], std::max_element(row, row + case_.vocab) - row);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Cases, Vocabulary, testing::ValuesIn(up_to(tested_size, vocabulary_cases)),
                         parameter_name);
INSTANTIATE_TEST_SUITE_P(SmallCases, VocabularyReference,
                         testing::ValuesIn(up_to(small_size, vocabulary_cases)), parameter_name);

TEST(SoftmaxStatistics, AreMinusInfinityAndZeroWithoutColumns) {
    Context ctx(on_test_device());
    Tensor stats = ctx.empty({2, 2}, DType::f32), best = ctx.empty({2, 2}, DType::f32);
    const Tensor none = ctx.empty({2, 0}, DType::f32);
    constexpr double infinity = std::numeric_limits<double>::infinity();

    softmax_statistics(ctx, none, 1.0f, stats);
    row_argmax(ctx, none, 5, best);

    EXPECT_EQ(values_of(stats), (Values{-infinity, 0, -infinity, 0}));
    EXPECT_EQ(values_of(best), (Values{-infinity, -1, -infinity, -1}));
}

TEST(SoftmaxStatistics, SurviveLogitsThatWouldOverflow) {
    Context ctx(on_test_device());
    const Tensor z = tensor_of(ctx, {1e4, 1e4, -1e4}, {1, 3}, DType::f32);
    Tensor stats = ctx.empty({1, 2}, DType::f32);

    softmax_statistics(ctx, z, 0.5f, stats);

    EXPECT_EQ(values_of(stats), (Values{2e4, 2}));
}

TEST(SoftmaxStatistics, AreNotANumberWhereALogitIsNone) {
    Context ctx(on_test_device());
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const Tensor z = tensor_of(ctx, {1, nan, 2, nan, nan, nan, 1, infinity, 2}, {3, 3}, DType::f32);
    Tensor stats = ctx.empty({3, 2}, DType::f32), best = ctx.empty({3, 2}, DType::f32);

    softmax_statistics(ctx, z, 1.0f, stats);
    row_argmax(ctx, z, 5, best);

    const Values max_and_sum = values_of(stats);
    EXPECT_EQ(max_and_sum[0], 2);
    for (const size_t row : {0, 1, 2}) EXPECT_TRUE(std::isnan(max_and_sum[2 * row + 1])) << row;
    EXPECT_EQ(values_of(best), (Values{2, 7, -infinity, -1, infinity, 6}));
}

TEST(Divergences, AreNotANumberWhereALogitIsNone) {
    Context ctx(on_test_device());
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const Values numbers{1, -1, 0.5, 2}, broken{1, nan, 0.5, 2};
    for (const Divergence kind : divergences) {
        for (const Side side : {Side::teacher, Side::student}) {
            SplitVocabulary logits(ctx, whole_vocabulary(4), side == Side::teacher ? broken : numbers,
                                   side == Side::student ? broken : numbers, 1);

            const Tensor loss = logits.loss(kind, 1.0f);
            const Values gradient = logits.gradient({{kind}, {-1}, {1}}, DType::f32, Where::apart);

            EXPECT_TRUE(std::isnan(values_of(loss)[0])) << to_string(kind);
            for (const double d : gradient) EXPECT_TRUE(std::isnan(d)) << to_string(kind);
        }
    }
}

TEST(TailStatistics, AreOfTheTokensThatAreNotNamed) {
    Context ctx(on_test_device());
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const Tensor z = tensor_of(ctx, {5, 7, 5}, {1, 3}, DType::f32);
    Tensor stats = ctx.empty({1, 2}, DType::f32);
    const auto without = [&](const Values& ids) {
        tail_statistics(ctx, z, tensor_of(ctx, ids, {1, std::ssize(ids)}, DType::i32), 10, 0.5f, stats);
        return values_of(stats);
    };

    EXPECT_EQ(without({11}), (Values{10, 2}));
    EXPECT_EQ(without({-1, 9, 13, 11, 12}), (Values{10, 1})) << "of which some are not there";
    EXPECT_EQ(without({12, 10, 11}), (Values{-infinity, 0}));
}

TEST(TailStatistics, BeginWhereverTheTailDoes) {
    Context ctx(on_test_device());
    Values z, named;
    for (int64_t j = 0; j < 5000; ++j) {  // more than is read at a time
        z.push_back(j < 3000 ? 100 : -100);
        if (j < 3000) named.push_back(static_cast<double>(j));
    }
    Tensor stats = ctx.empty({1, 2}, DType::f32);

    tail_statistics(ctx, tensor_of(ctx, z, {1, 5000}, DType::f32),
                    tensor_of(ctx, named, {1, 3000}, DType::i32), 0, 1.0f, stats);

    EXPECT_EQ(values_of(stats), (Values{-100, 2000}));
}

TEST(RowArgmax, TakesTheLowestIdOnATie) {
    Context ctx(on_test_device());
    Tensor best = ctx.empty({1, 2}, DType::f32);

    row_argmax(ctx, tensor_of(ctx, {1, 7, 3, 7}, {1, 4}, DType::f32), 100, best);

    EXPECT_EQ(values_of(best), (Values{7, 101}));
}

TEST(DivergenceNames, ReadBackAsThemselves) {
    for (const Divergence kind : divergences) EXPECT_EQ(divergence_from_string(to_string(kind)), kind);
    EXPECT_EQ(divergence_from_string("forward_kl"), std::nullopt);
}

}  // namespace
}  // namespace espalier::test
