// Accuracies of multiple-choice questions.
#include "jobs/data/requests.hpp"

#include <gtest/gtest.h>

namespace espalier::jobs {
namespace {

evaluate::Likelihood scored(double log_likelihood) {
    evaluate::Likelihood out;
    out.log_likelihood = log_likelihood;
    return out;
}

TEST(ChoiceAccuracy, CountsTheLikeliestAndTheLikeliestByLength) {
    const std::vector<Question> questions{{{1}, {{{2}, 1}, {{3, 4}, 2}}, 0},
                                          {{1}, {{{2}, 1}, {{3, 4}, 2}}, 1}};

    const auto accuracy =
        choice_accuracy(questions, {scored(-3), scored(-4), scored(-3), scored(-4)}, "model.h5");

    EXPECT_EQ(accuracy.plain, 0.5);
    EXPECT_EQ(accuracy.normalised, 0.5);
}

TEST(ChoiceAccuracy, OfEqualChoicesTheFirstCountsWhateverTheirRoundings) {
    const Question question{{1}, {{{5}, 1}, {{2, 3}, 2}, {{2, 3}, 2}}, 1};

    const auto accuracy = choice_accuracy({question}, {scored(-9), scored(-4.00001), scored(-4)}, "model.h5");

    EXPECT_EQ(accuracy.plain, 1);
    EXPECT_EQ(accuracy.normalised, 1);
}

}  // namespace
}  // namespace espalier::jobs
