// Loss over a token file, as a user asks for it.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/indexed_dataset.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"
#include "tests/support/tolerance.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;

class Evaluate : public testing::Test {
protected:
    /// Of `tokens` [begin, end) as one document.
    json evaluate(const std::vector<int32_t>& tokens, int64_t begin, int64_t end,
                  const std::vector<std::string>& more = {}) const {
        io::IndexedDatasetWriter part(world.path("part"), 97, io::Existing::replace);
        part.add({tokens.begin() + begin, tokens.begin() + end});
        part.finish();
        std::vector<std::string> words{
            "evaluate", "--model", world.path("model.h5"), "--data", world.path("part"), "--seq-len", "16"};
        words.insert(words.end(), more.begin(), more.end());
        words.insert(words.end(),
                     {"--dtype", "f32", "--quiet", "--force", "--summary", world.path("s.json")});
        expect_done(espalier(words));
        return json::parse(world.read("s.json"));
    }

    const TinyWorld world;
};

TEST_F(Evaluate, ScoresEachTokenOnceBehindAllThatItsWindowHolds) {
    constexpr int64_t length = 27, seq_len = 16, stride = 6;
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < length; ++i) tokens.push_back((31 * i * i + 7 * i) % 97);
    const auto sum = [&](int64_t begin, int64_t end) {  // of a window of its own
        const json all = evaluate(tokens, begin, end);
        return all.at("loss").get<double>() * static_cast<double>(end - begin - 1);
    };

    const json strided = evaluate(tokens, 0, length, {"--stride", std::to_string(stride)});

    double expected = sum(0, seq_len + 1);
    for (int64_t begin = stride, scored = seq_len + 1; scored < length; begin += stride) {
        const int64_t end = std::min(begin + seq_len + 1, length);
        expected += sum(begin, end) - sum(begin, scored);
        scored = end;
    }
    EXPECT_EQ(strided.at("tokens"), length - 1);
    EXPECT_NEAR(strided.at("loss").get<double>(), expected / (length - 1),
                loss_tolerance * expected / (length - 1));
}

}  // namespace
}  // namespace espalier::test
