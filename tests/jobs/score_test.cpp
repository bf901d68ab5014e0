// Likelihoods of requests, as a user asks for them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"
#include "tests/support/tolerance.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;

TEST(Score, GivesTheSameOnEveryLayout) {
    const TinyWorld world;
    const auto score = [&](const std::string& out, int ranks, const std::vector<std::string>& grid) {
        std::vector<std::string> arguments{"score",
                                           "--model",
                                           world.path("model.h5"),
                                           "--requests",
                                           world.path("r.jsonl"),
                                           "--out",
                                           world.path(out),
                                           "--dtype",
                                           "f32",
                                           "--quiet"};
        arguments.insert(arguments.end(), grid.begin(), grid.end());
        return espalier(arguments, ranks).exit_code;
    };
    world.write("r.jsonl",
                "{\"context\": [1, 2, 3], \"continuation\": [4]}\n{\"context\": [5], \"continuation\": [6, "
                "7, 8]}\n{\"context\": [9, 9], \"continuation\": [1, 2]}\n");
    ASSERT_EQ(score("a.jsonl", 1, {}), 0);
    ASSERT_EQ(score("b.jsonl", 4, {"--tp", "2", "--pp", "2"}), 0);
    ASSERT_EQ(score("c.jsonl", 2, {}), 0);

    const auto values = [&](const std::string& name) {
        std::vector<double> out;
        std::istringstream lines(world.read(name));
        for (std::string line; std::getline(lines, line);)
            out.push_back(json::parse(line).at("loglikelihood"));
        return out;
    };
    const auto a = values("a.jsonl"), b = values("b.jsonl"), c = values("c.jsonl");
    ASSERT_EQ(a.size(), 3U);
    for (size_t i = 0; i < a.size(); ++i) {
        EXPECT_NEAR(b[i], a[i], -loss_tolerance * a[i]);
        EXPECT_NEAR(c[i], a[i], -loss_tolerance * a[i]);
    }
}

TEST(Score, RefusesWhatItCouldOnlyScoreInPart) {
    const TinyWorld world;
    std::string ids = "1";
    for (int i = 1; i < 65; ++i) ids += ", 1";
    world.write("r.jsonl", "{\"context\": [1], \"continuation\": [" + ids + "]}\n");

    const auto result = espalier({"score", "--model", world.path("model.h5"), "--requests",
                                  world.path("r.jsonl"), "--out", world.path("o.jsonl")});

    expect_refusal(result, {"line 1: \"continuation\" holds 65 tokens"});
}

TEST(Score, CountsTheTokensThatGoThroughTheModel) {
    const TinyWorld world;
    std::string context = "1";
    for (int i = 1; i < 1000; ++i) context += ", 1";
    const auto flops = [&](const std::string& ids) {
        world.write("r.jsonl", "{\"context\": [" + ids + "], \"continuation\": [1]}\n");
        EXPECT_EQ(espalier({"score", "--model", world.path("model.h5"), "--requests", world.path("r.jsonl"),
                            "--out", world.path("o.jsonl"), "--summary", world.path("s.json"), "--force"})
                      .exit_code,
                  0);
        return json::parse(world.read("s.json")).at("model_flops").get<double>();
    };

    // The model has 64 positions.
    EXPECT_EQ(flops(context), flops(context.substr(0, 3 * 64 - 2)));
}

}  // namespace
}  // namespace espalier::test
