// plan and cost, as users start them.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;

const std::string share = ESPALIER_SHARE;

class PlanJob : public testing::Test {
protected:
    std::string path(const std::string& name) const { return (folder_ / name).string(); }
    json read(const std::string& name) const {
        std::ifstream in(path(name));
        return json::parse(in);
    }
    /// Arguments of a plan of the 8B model under its teacher on 64 GPUs, and `more`.
    std::vector<std::string> arguments(const std::vector<std::string>& more) const {
        std::vector<std::string> out{"plan",
                                     "--arch",
                                     share + "/architectures/minitron-8b.json",
                                     "--teacher-arch",
                                     share + "/architectures/nemotron-4-15b.json",
                                     "--system",
                                     share + "/systems/h100-sxm.json",
                                     "--global-batch",
                                     "128",
                                     "--seq-len",
                                     "4096",
                                     "--summary",
                                     path("summary.json")};
        out.insert(out.end(), more.begin(), more.end());
        return out;
    }
    void expect_refused(const std::vector<std::string>& more, const std::vector<std::string>& says) const {
        expect_refusal(espalier(arguments(more)), says);
    }

private:
    TemporaryFolder folder_;
};

TEST_F(PlanJob, ListsLayoutsByTimeInTableSummaryAndFile) {
    const auto result = espalier(arguments({"--gpus", "64", "--out", path("all.json")}));

    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(result.out.find("MFU"), std::string::npos);
    const auto layouts = read("summary.json")["layouts"];
    ASSERT_GT(layouts.size(), 10u);
    for (size_t i = 1; i < layouts.size(); ++i)
        EXPECT_LE(layouts[i - 1]["seconds"].get<double>(), layouts[i]["seconds"].get<double>());
    for (const auto& l : layouts) {
        EXPECT_EQ(l["tp"].get<int>() * l["pp"].get<int>() * l["dp"].get<int>(), 64);
        EXPECT_LT(l["memory_bytes"].get<double>(), 76e9);
        EXPECT_GT(l["mfu"].get<double>(), 0);
        EXPECT_LT(l["mfu"].get<double>(), 1);
    }
    EXPECT_EQ(read("all.json")["layouts"], layouts);
}

TEST_F(PlanJob, KeepsToTheLayoutAskedFor) {
    const auto result = espalier(arguments({"--gpus", "64", "--tp", "4", "--pp", "2", "--virtual-stages", "2",
                                            "--micro-batch", "1", "--recompute", "full"}));

    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto layouts = read("summary.json")["layouts"];
    ASSERT_EQ(layouts.size(), 1u);
    EXPECT_EQ(layouts[0]["tp"], 4);
    EXPECT_EQ(layouts[0]["virtual_stages"], 2);
    EXPECT_EQ(layouts[0]["recompute"], "full");
}

TEST_F(PlanJob, KeepsTheOptimizersStateWhereItIsAskedTo) {
    const auto memory = [&](const char* state) -> double {
        expect_done(espalier(arguments({"--gpus", "64", "--tp", "8", "--pp", "1", "--micro-batch", "1",
                                        "--recompute", "full", "--optimizer-state", state, "--force"})));
        return read("summary.json")["layouts"].at(0)["memory_bytes"];
    };

    // Of 8 replicas each keeps 12 bytes for each parameter of its eighth, or an eighth of them.
    EXPECT_NEAR(memory("replicated") - memory("sharded"), 12 * 8.27e9 / 8 * 7 / 8, 0.03e9);
}

TEST_F(PlanJob, NamesTheNearestMissWhereNothingFits) {
    expect_refused({"--gpus", "1"}, {"none of", "needs", "GB", "--gpus"});
}

TEST_F(PlanJob, SaysWhatIsMissingOrWrong) {
    expect_refused({}, {"--gpus 0"});
    expect_refused({"--gpus", "129", "--tp", "1", "--pp", "1"}, {"1 of 129 replicas", "--global-batch 128"});
    expect_refused({"--gpus", "8", "--recompute", "some"}, {"some", "selective"});
    expect_refused({"--gpus", "8", "--model", "m.h5"}, {"--model", "--arch"});
    expect_refused({"--calibrate"}, {"--arch", "--calibrate"});
    const auto without_output = espalier({"plan", "--calibrate"});
    expect_refusal(without_output, {"--calibrate needs --out"});
    expect_refused({"--gpus", "9223372036854775807"}, {"--gpus 9223372036854775807", "at most 16777216"});
    expect_refused({"--gpus", "8", "--device", "cuda"}, {"--device cuda", "--calibrate"});
    // As `train` and `distill` would.
    std::ofstream(path("short.json"))
        << R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 97, "hidden_size": 24, "intermediate_size": 40,
        "num_hidden_layers": 4, "num_attention_heads": 6, "max_position_embeddings": 64})";
    const auto long_samples =
        espalier({"plan", "--arch", path("short.json"), "--system", share + "/systems/h100-sxm.json",
                  "--gpus", "1", "--global-batch", "4", "--seq-len", "65"});
    EXPECT_EQ(long_samples.exit_code, 2);
    EXPECT_NE(long_samples.err.find("short.json has 64 positions; choose --seq-len <= 64"), std::string::npos)
        << long_samples.err;
    const auto result =
        espalier({"plan", "--arch", share + "/architectures/minitron-8b.json", "--gpus", "8"});
    expect_refusal(result, {"share/systems"});
}

TEST_F(PlanJob, ReplacesNoFileWithoutForce) {
    std::ofstream(path("all.json")) << "mine";

    expect_refused({"--gpus", "64", "--out", path("all.json")}, {"all.json", "--force"});
}

TEST_F(PlanJob, CalibrationOnTwoRanksDescribesASystemThatPlanReads) {
    ASSERT_EQ(espalier({"plan", "--calibrate", "--out", path("here.json"), "--threads", "1", "--quiet"}, 2)
                  .exit_code,
              0);

    const auto here = read("here.json");
    EXPECT_EQ(here["gpus_per_node"], 2);
    EXPECT_GT(here["peak_flops"]["f32"].get<double>(), 0);
    EXPECT_GT(here["node"]["bandwidth"].get<double>(), 0);
    EXPECT_GT(here["attention_efficiency"].get<double>(), 0);
    EXPECT_NE(here["attention_efficiency"].get<double>(), 0.5);  // what is assumed where nothing measures
    EXPECT_LE(here["attention_efficiency"].get<double>(), 1);
    EXPECT_EQ(here["launch_seconds"], 0);
    std::ofstream(path("tiny.json"))
        << R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 97, "hidden_size": 24, "intermediate_size": 40,
        "num_hidden_layers": 4, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8,
        "max_position_embeddings": 64})";
    const auto planned = espalier({"plan", "--arch", path("tiny.json"), "--system", path("here.json"),
                                   "--gpus", "2", "--global-batch", "4", "--seq-len", "16"});
    EXPECT_EQ(planned.exit_code, 0) << planned.err;
}

TEST_F(PlanJob, CalibrationInOneDtypeDescribesThatAlone) {
    for (const std::string dtype : {"f32", "bf16"}) {
        ASSERT_EQ(espalier({"plan", "--calibrate", "--dtype", dtype, "--out", path(dtype + ".json"),
                            "--threads", "1", "--quiet"})
                      .exit_code,
                  0);

        const auto peaks = read(dtype + ".json")["peak_flops"];
        EXPECT_EQ(peaks.size(), 1) << peaks;
        EXPECT_TRUE(peaks.contains(dtype)) << peaks;
    }
}

TEST_F(PlanJob, CostOfThePapersFamilyIs1Point803) {
    const auto result =
        espalier({"cost", "--family", share + "/families/minitron.json", "--system",
                  share + "/systems/h100-sxm.json", "--price-per-hour", "2", "--summary", path("cost.json")});

    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto cost = read("cost.json");
    EXPECT_NEAR(cost["ratio_paper"].get<double>(), 1.803, 5e-4);
    EXPECT_NEAR(cost["ratio_full"].get<double>(), 1.76, 5e-3);
    const double hours = cost["scratch"]["gpu_hours"].get<double>();
    EXPECT_NEAR(hours, cost["scratch"]["flops"].get<double>() / (0.4 * 989.4e12) / 3600, 1e-6 * hours);
    EXPECT_NEAR(cost["scratch"]["price"].get<double>(), 2 * hours, 1e-6 * hours);
    EXPECT_NE(result.out.find("1.803"), std::string::npos);
}

TEST_F(PlanJob, CostRefusesAPriceWithoutHours) {
    const auto result =
        espalier({"cost", "--family", share + "/families/minitron.json", "--price-per-hour", "2"});

    expect_refusal(result, {"--system"});
}

}  // namespace
}  // namespace espalier::test
