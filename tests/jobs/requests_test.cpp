// Accuracies of multiple-choice questions.
#include "jobs/data/requests.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "src/core/error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::jobs {
namespace {

evaluate::Likelihood scored(double log_likelihood) {
    evaluate::Likelihood out;
    out.log_likelihood = log_likelihood;
    return out;
}

TEST(ChoiceAccuracy, CountsTheLikeliestAndTheLikeliestByLength) {
    const std::vector<Question> questions{{{{{1}, {2}, 1}, {{1}, {3, 4}, 2}}, 0},
                                          {{{{1}, {2}, 1}, {{1}, {3, 4}, 2}}, 1}};

    const auto accuracy =
        choice_accuracy(questions, {scored(-3), scored(-4), scored(-3), scored(-4)}, "model.h5");

    EXPECT_EQ(accuracy.plain, 0.5);
    EXPECT_EQ(accuracy.normalised, 0.5);
}

TEST(ChoiceAccuracy, OfEqualChoicesTheFirstCountsWhateverTheirRoundings) {
    const Question question{{{{1}, {5}, 1}, {{1}, {2, 3}, 2}, {{1}, {2, 3}, 2}}, 1};

    const auto accuracy = choice_accuracy({question}, {scored(-9), scored(-4.00001), scored(-4)}, "model.h5");

    EXPECT_EQ(accuracy.plain, 1);
    EXPECT_EQ(accuracy.normalised, 1);
}

class ReadChoices : public testing::Test {
protected:
    std::vector<Question> read(const std::string& line) const {
        const std::string path = (folder_ / "q.jsonl").string();
        std::ofstream(path) << line << '\n';
        model::Architecture a;
        a.vocab = 10;
        a.max_positions = 4;
        return read_choices(path, a);
    }

    test::TemporaryFolder folder_;
};

TEST_F(ReadChoices, MayStandBehindTheirContextOrBeforeWhatIsScored) {
    const auto behind =
        choice_requests(read(R"({"context": [1, 2], "choices": [[3], [4, 5]], "answer": 1})"));
    const auto before = choice_requests(
        read(R"({"contexts": [[1, 3], [1, 4, 5]], "continuation": [6], "answer": 1, "lengths": [7, 7]})"));

    ASSERT_EQ(behind.size(), 2U);
    EXPECT_EQ(behind[1].context, (std::vector<int32_t>{1, 2}));
    EXPECT_EQ(behind[1].continuation, (std::vector<int32_t>{4, 5}));
    ASSERT_EQ(before.size(), 2U);
    EXPECT_EQ(before[1].context, (std::vector<int32_t>{1, 4, 5}));
    EXPECT_EQ(before[1].continuation, std::vector<int32_t>{6});
}

TEST_F(ReadChoices, RefusesALineThatSaysWhereNothingStands) {
    EXPECT_THROW(read(R"({"contexts": [[1], [2]], "choices": [[3], [4]], "answer": 1})"), UserError);
    EXPECT_THROW(read(R"({"contexts": [[1]], "continuation": [6], "answer": 0})"), UserError);
    EXPECT_THROW(read(R"({"contexts": [[1], [2]], "continuation": [1, 2, 3, 4, 5], "answer": 0})"),
                 UserError);
}

}  // namespace
}  // namespace espalier::jobs
