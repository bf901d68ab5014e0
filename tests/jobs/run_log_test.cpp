// What training runs tell while they go on.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/jobs/metrics.hpp"

namespace espalier::test {
namespace {

TEST(RunLog, LinesAreMeansOverTheirSteps) {
    const TinyWorld world;
    for (const int ranks : {1, 2}) {  // under mpirun, standard output is a terminal of each rank
        const std::string out = "run" + std::to_string(ranks);
        auto arguments = distill_arguments(world, out, {"--log-every", "3"});
        arguments.erase(std::find(arguments.begin(), arguments.end(), "--quiet"));

        const auto result = espalier(arguments, ranks);

        const auto losses = metrics(world, out, "lm_loss");
        ASSERT_EQ(losses.size(), 6U);
        size_t at = 0;
        for (const size_t first : {0U, 3U}) {
            const std::string field = "lm loss: ";
            at = result.out.find(field, at);
            ASSERT_NE(at, std::string::npos) << result.out;
            at += field.size();
            EXPECT_NEAR(std::stod(result.out.substr(at)),
                        (losses[first] + losses[first + 1] + losses[first + 2]) / 3, 1e-5);
        }
    }
}

TEST(RunLog, HasTheMemoryOfTheLargestRankWithEachLine) {
    const TinyWorld world;

    const auto result = espalier(
        distill_arguments(world, "run", {"--log-every", "4", "--summary", world.path("summary.json")}), 2);

    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto lines = metrics(world, "run");
    ASSERT_EQ(lines.size(), 6U);
    for (const size_t i : {0U, 1U, 2U, 4U}) EXPECT_FALSE(lines[i].contains("memory_bytes"));
    const auto memory = metrics(world, "run", "memory_bytes");
    ASSERT_EQ(memory.size(), 2U);
    const auto peaks = nlohmann::json::parse(world.read("summary.json")).at("memory").at("peak");
    EXPECT_GT(memory[0], 1e6);
    EXPECT_LE(memory[0], memory[1]);
    EXPECT_LE(memory[1], *std::max_element(peaks.begin(), peaks.end()));
}

}  // namespace
}  // namespace espalier::test
