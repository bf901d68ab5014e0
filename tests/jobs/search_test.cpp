// Searches as users start them.
#include <gtest/gtest.h>

#include <algorithm>
#include <span>

#include "io/indexed_dataset.hpp"
#include "tests/jobs/bad_input.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/jobs/search_calls.hpp"
#include "tests/support/tolerance.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;

/// The last of all tokens, as a token file of one document.
void write_last(const TinyWorld& world, size_t count, const std::string& name) {
    const io::IndexedDataset documents(world.path("tokens"));
    std::vector<int32_t> ids;
    for (int64_t d = 0; d < documents.count(); ++d) {
        const auto before = ids.size();
        ids.resize(before + static_cast<size_t>(documents.length(d)));
        documents.read(d, 0, std::span(ids).subspan(before));
    }
    io::IndexedDatasetWriter out(world.path(name), 97, io::Existing::keep);
    out.add(std::span(ids).last(count));
    out.finish();
}

TEST(Search, EnumeratesShapesThatPruneTakesByTheirPosition) {
    const TinyWorld world;

    expect_done(espalier(search_arguments(world, "c.json", {"--summary", world.path("s.json")})));
    expect_done(espalier({"prune", "--model", world.path("model.h5"), "--importance", world.path("scores.h5"),
                          "--candidate", "3", "--candidates", world.path("c.json"), "--out",
                          world.path("cut.h5"), "--quiet", "--summary", world.path("p.json")}));

    const json list = candidates(world, "c.json"), cut = json::parse(world.read("p.json"));
    EXPECT_EQ(json::parse(world.read("s.json")).at("candidates"), list);
    ASSERT_EQ(list.size(), 4U);
    EXPECT_EQ(list[3].at("layers"), 3);
    EXPECT_EQ(list[3].at("hidden"), 16);
    EXPECT_EQ(cut.at("parameters"), list[3].at("parameters"));
    EXPECT_EQ(cut.at("architecture").at("layers"), 3);
    EXPECT_EQ(cut.at("architecture").at("hidden"), 16);
}

TEST(Search, KeepsToEachLimitAsItCountsIt) {
    const TinyWorld world;
    const auto found = [&](const std::vector<std::string>& more) {
        auto arguments = search_arguments(world, "c.json", more);
        arguments.emplace_back("--force");
        expect_done(espalier(arguments));
        return candidates(world, "c.json");
    };
    const json all = found({});
    for (const auto& [option, key] : {std::pair{"--params-max", "parameters"},
                                      {"--max-memory", "memory_bytes"},
                                      {"--max-flops", "flops_per_token"}}) {
        std::vector<double> costs;
        for (const auto& c : all) costs.push_back(c.at(key));
        std::sort(costs.begin(), costs.end());
        const json within = found({option, std::to_string(std::llround(costs[1]))});
        ASSERT_EQ(within.size(), 2U) << option;
        for (const auto& c : within) EXPECT_LE(c.at(key), costs[1]) << option;
    }

    const json in_f32 = found({"--memory-dtype", "f32"}), of_three = found({"--memory-batch", "3"}),
               of_few = found({"--memory-seq-len", "16"});
    for (size_t k = 0; k < all.size(); ++k) {
        const double once = all[k].at("memory_bytes"),
                     cache = once - 2 * all[k].at("parameters").get<double>();
        EXPECT_EQ(in_f32[k].at("memory_bytes"), 2 * once);
        EXPECT_EQ(of_three[k].at("memory_bytes"), once + 2 * cache);
        EXPECT_EQ(of_few[k].at("memory_bytes"), once - cache * 48 / 64);
    }
    const std::vector<std::string> served{"--max-latency", "1", "--system",
                                          ESPALIER_SHARE "/systems/h100-sxm.json"};
    const json on_one = found(served), on_two = found(plus(served, {"--latency-tp", "2"}));
    EXPECT_NE(on_one[0].at("seconds_per_token"), on_two[0].at("seconds_per_token"));
}

TEST(Search, RanksByTheLossThatPruneAndEvaluateGiveAndLeavesNothingElse) {
    const TinyWorld world;

    expect_done(espalier(ranking_arguments(world, "c.json")));

    const json list = candidates(world, "c.json");
    ASSERT_EQ(list.size(), 4U);
    for (size_t k = 0; k < list.size(); ++k) {
        const std::string cut = world.path("cut-" + std::to_string(k) + ".h5");
        expect_done(espalier({"prune", "--model", world.path("model.h5"), "--importance",
                              world.path("scores.h5"), "--candidate", std::to_string(k), "--candidates",
                              world.path("c.json"), "--out", cut, "--quiet"}));
        expect_done(
            espalier({"evaluate", "--model", cut, "--data", world.path("tokens"), "--seq-len", "16",
                      "--micro-batch", "2", "--dtype", "f32", "--quiet", "--summary", world.path("e.json")}));
        EXPECT_EQ(list[k].at("loss"), json::parse(world.read("e.json")).at("loss"));
        if (k > 0) {
            EXPECT_GE(list[k].at("loss"), list[k - 1].at("loss"));
        }
    }
    EXPECT_FALSE(world.exists("c.json.runs"));
}

TEST(Search, CutsAndMeasuresAsItIsTold) {
    const TinyWorld world;
    const std::string model = world.path("model.h5"), tokens = world.path("tokens"),
                      scores = world.path("scores.h5"), out = world.path("c.json");
    const std::vector<std::string> cutting{"--depth-by",        "ppl", "--head-residual", "laco",
                                           "--batch-aggregate", "mean"},
        documents{"--reset-attention", "--mask-eod", "--eod", "7"};
    expect_done(espalier({"importance", "--model", model, "--data", tokens, "--out", scores, "--samples", "8",
                          "--seq-len", "16", "--depth", "ppl", "--force", "--quiet"}));

    expect_done(espalier(plus(
        plus(plus({"search", "--model",      model, "--importance", scores, "--data",   tokens, "--valid",
                   tokens,   "--params-min", "1",   "--layers",     "3",    "--hidden", "16",   "--heads",
                   "3,6",    "--ffn",        "32",  "--out",        out,    "--quiet"},
                  recipe),
             cutting),
        documents)));

    const json list = candidates(world, "c.json");
    ASSERT_EQ(list.size(), 2U);
    for (size_t k = 0; k < list.size(); ++k) {
        const std::string cut = world.path("cut-" + std::to_string(k) + ".h5");
        expect_done(espalier(
            plus({"prune", "--model", model, "--importance", scores, "--out", cut, "--quiet", "--layers", "3",
                  "--hidden", "16", "--ffn", "32", "--heads", list[k].at("heads").dump()},
                 cutting)));
        expect_done(
            espalier(plus({"evaluate", "--model", cut, "--data", tokens, "--seq-len", "16", "--micro-batch",
                           "2", "--dtype", "f32", "--quiet", "--force", "--summary", world.path("e.json")},
                          documents)));
        EXPECT_EQ(list[k].at("loss"), json::parse(world.read("e.json")).at("loss"));
    }
}

TEST(Search, DistilsTheLastSurvivorAsOneUninterruptedRunWould) {
    const TinyWorld world;

    expect_done(espalier(retraining_arguments(world, "c.json")));

    const json list = candidates(world, "c.json"), best = list.at(0);
    EXPECT_EQ(best.at("steps"), 6);
    EXPECT_EQ(list[1].at("steps"), 3);
    EXPECT_EQ(list[2].at("steps"), 2);
    EXPECT_EQ(list[3].at("steps"), 2);
    expect_done(espalier({"prune", "--model", world.path("model.h5"), "--importance", world.path("scores.h5"),
                          "--candidate", "0", "--candidates", world.path("c.json"), "--out",
                          world.path("cut.h5"), "--quiet"}));
    expect_done(
        espalier(plus({"distill", "--teacher", world.path("model.h5"), "--student", world.path("cut.h5"),
                       "--data", world.path("tokens"), "--valid", world.path("tokens"), "--out",
                       world.path("run"), "--tokens", "384", "--quiet", "--summary", world.path("d.json")},
                      recipe)));
    EXPECT_EQ(best.at("loss"), json::parse(world.read("d.json")).at("valid_loss"));
    const std::string survivor = "c.json.runs/candidate-" + best.at("candidate").dump() + "/run";
    const auto resumed = lines_of(world, survivor + "/metrics.jsonl"),
               whole = lines_of(world, "run/metrics.jsonl");
    ASSERT_EQ(resumed.size(), 6U);
    for (size_t i = 0; i < 6; ++i) {
        EXPECT_EQ(resumed[i].at("loss"), whole[i].at("loss")) << "step " << i + 1;
        EXPECT_EQ(resumed[i].at("lr"), whole[i].at("lr")) << "step " << i + 1;
    }
    EXPECT_TRUE(world.exists(survivor + "/model.h5"));
    EXPECT_FALSE(world.exists(survivor + "/checkpoints"));
}

TEST(Search, GivesTheSameRankingOnAnotherLayout) {
    const TinyWorld world;

    expect_done(espalier(retraining_arguments(world, "one.json")));
    expect_done(espalier(retraining_arguments(world, "two.json", {"--tp", "2"}), 2));

    const json one = candidates(world, "one.json"), two = candidates(world, "two.json");
    EXPECT_EQ(numbers(two), numbers(one));
    for (size_t k = 0; k < one.size(); ++k)
        EXPECT_NEAR(two[k].at("loss"), one[k].at("loss"), loss_tolerance * one[k].at("loss").get<double>());
}

TEST(Search, RanksOnTheEndOfTheDataWithoutHeldOutText) {
    const TinyWorld world;

    expect_done(espalier(ranking_arguments(world, "end.json", {"--valid", ""})));
    write_last(world, 32 * 16 + 1, "end");
    expect_done(espalier(ranking_arguments(world, "told.json", {"--valid", world.path("end")})));

    EXPECT_EQ(candidates(world, "end.json"), candidates(world, "told.json"));
    expect_done(espalier(ranking_arguments(world, "all.json")));
    EXPECT_NE(candidates(world, "end.json"), candidates(world, "all.json"));
}

using BadSearch = BadInput;

TEST_F(BadSearch, NamesTheNearestShapeOfABudgetThatNoneMeets) {
    expect_refused(
        {"search", "--arch", world().path("arch.json"), "--params", "1e6", "--out", world().path("o.json")},
        {"950000 to 1050000 parameters", "nearest", "4 layers, hidden 24", "parameters"});
}

TEST_F(BadSearch, WantsABudgetAndOneSource) {
    const std::string out = world().path("o.json");
    expect_refused({"search", "--arch", world().path("arch.json"), "--out", out}, {"--params"});
    expect_refused({"search", "--params", "1e4", "--out", out}, {"--model", "--arch"});
    expect_refused(
        {"search", "--arch", world().path("arch.json"), "--params", "1e4", "--params-min", "1", "--out", out},
        {"exclude"});
    expect_refused(search_arguments(world(), "o.json", {"--max-latency", "1e-3"}),
                   {"--system", "plan --calibrate"});
    expect_refused(search_arguments(world(), "o.json", {"--max-latency", "0", "--system", "s.json"}),
                   {"--max-latency"});
    expect_refused(search_arguments(world(), "o.json", {"--heads", "6,x"}), {"--heads", "\"x\""});
    expect_refused(search_arguments(world(), "o.json", {"--hidden", "32"}), {"--hidden 32", "24"});
}

TEST_F(BadSearch, WantsNothingThatItDoesNotUse) {
    expect_refused(search_arguments(world(), "o.json", {"--lr", "3"}), {"--lr", "--importance"});
    expect_refused(search_arguments(world(), "o.json", {"--valid", "none"}), {"--valid", "--importance"});
    expect_refused(search_arguments(world(), "o.json", {"--latency-tp", "8"}), {"--latency-tp", "--system"});
}

TEST_F(BadSearch, WantsWhatItMeasuresBy) {
    expect_refused(search_arguments(world(), "o.json", {"--retrain-tokens", "384"}), {"--importance"});
    expect_refused({"search", "--model", world().path("model.h5"), "--importance", world().path("scores.h5"),
                    "--data", world().path("tokens"), "--seq-len", "16", "--params-min", "1", "--kv-heads",
                    "3,2", "--head-residual", "paper", "--out", world().path("o.json")},
                   {"--head-residual", "--kv-heads 2"});
    expect_refused(search_arguments(world(), "o.json", {"--importance", world().path("scores.h5")}),
                   {"--data"});
    expect_refused(ranking_arguments(world(), "o.json", {"--candidate", "4"}),
                   {"--candidate 4", "between 0 and 3"});
    expect_refused(retraining_arguments(world(), "o.json", {"--loss", "kill"}), {"kill"});
    expect_refused(retraining_arguments(world(), "o.json", {"--loss", "ce", "--top-k", "5"}), {"--top-k"});
    expect_refused(ranking_arguments(world(), "o.json", {"--seq-len", "65"}), {"--seq-len", "64"});
}

TEST_F(BadSearch, RefusesALayoutThatACandidateDoesNotFillBeforeTheFirstCut) {
    const auto refused = [&](const std::vector<std::string>& layout, int ranks, const std::string& says) {
        expect_refusal(espalier(retraining_arguments(world(), "o.json", layout), ranks), {says});
        EXPECT_FALSE(world().exists("o.json.runs"));
    };

    refused({"--pp", "4"}, 4, "--pp 4: a candidate (3 layers");
    refused({"--pp", "2", "--virtual-stages", "2"}, 2, "--virtual-stages 2: a candidate (3 layers");
    refused({"--virtual-stages", "2"}, 1, "give --pp 2 or more");
}

TEST_F(BadSearch, RefusesScoresOfAnotherModelAndLeavesNothing) {
    expect_done(espalier({"init", "--arch", world().path("arch.json"), "--out", world().path("other.h5"),
                          "--seed", "2", "--quiet"}));

    expect_refused(ranking_arguments(world(), "o.json", {"--model", world().path("other.h5")}),
                   {"another model"});
}

TEST_F(BadSearch, RefusesToGoOnWithOtherOptions) {
    ASSERT_EQ(
        espalier(retraining_arguments(world(), "kept.json", {"--exit-after-minutes", "1e-9"})).exit_code, 3);

    expect_refused(retraining_arguments(world(), "kept.json", {"--temperature", "2"}),
                   {"--temperature", "--force"});
}

TEST_F(BadSearch, PruneWantsAListAndAPositionInIt) {
    const auto prune = [&](const std::vector<std::string>& more) {
        return plus({"prune", "--model", world().path("model.h5"), "--importance", world().path("scores.h5"),
                     "--out", world().path("o.h5")},
                    more);
    };
    expect_done(espalier(search_arguments(world(), "list.json")));
    world().write("no-list.json", "{}");

    expect_refused(prune({"--candidate", "4", "--candidates", world().path("list.json")}),
                   {"between 0 and 3"});
    expect_refused(prune({"--candidate", "0"}), {"--candidates"});
    expect_refused(prune({"--candidate", "0", "--candidates", world().path("list.json"), "--hidden", "8"}),
                   {"leave the others out"});
    expect_refused(prune({"--candidate", "0", "--candidates", world().path("no-list.json")}),
                   {"no-list.json", "espalier search"});
}

}  // namespace
}  // namespace espalier::test
