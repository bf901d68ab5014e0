#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/jobs/program.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;

TEST(Inspect, ShowsCountsAsIntegers) {
    const TinyWorld world;

    const auto facts = json::parse(espalier({"inspect", world.path("scores.h5"), "--json"}).out);

    for (const auto& [key, count] : {std::pair{"format_version", 1}, {"samples", 8}, {"seq_len", 16}}) {
        EXPECT_TRUE(facts.at(key).is_number_integer()) << key;
        EXPECT_EQ(facts.at(key), count) << key;
    }
    EXPECT_TRUE(facts.at("loss").is_number_float());
}

TEST(Inspect, KnowsAFileOfAnyName) {
    const TinyWorld world;
    std::filesystem::rename(world.path("model.h5"), world.path("model"));

    const auto result = espalier({"inspect", world.path("model"), "--json"});

    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(json::parse(result.out).at("format"), "espalier-model");
}

}  // namespace
}  // namespace espalier::test
