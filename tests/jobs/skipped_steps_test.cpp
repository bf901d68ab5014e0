// Steps whose gradient is not finite: what a run makes of them, on every layout.
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "io/tensor_file.hpp"
#include "src/core/context.hpp"
#include "tests/jobs/metrics.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/support/tolerance.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

constexpr int64_t seq_len = 8, global_batch = 4, top_k = 5;
const std::vector<Words> two_ranks{{"--tp", "2"}, {"--pp", "2"}, {"--tp", "1"}};

/// Runs on a cache of a teacher whose words for some steps are no numbers, so that neither are the gradients
/// of these steps, while all weights stay finite.
class SkippedSteps : public testing::Test {
protected:
    /// The cache of a run of `steps` steps. In those from `first` to `last`, from 1, the last sample is
    /// spoilt, which only one of several replicas has.
    void make_cache(int64_t steps, int64_t first, int64_t last) {
        steps_ = steps;
        for (const char* folder : {"whole", "cache"}) std::filesystem::remove_all(world.path(folder));
        const auto made = espalier(
            {"teacher-cache", "--teacher", world.path("model.h5"), "--data", world.path("tokens"), "--out",
             world.path("whole"), "--samples", std::to_string(steps * global_batch), "--seq-len",
             std::to_string(seq_len), "--top-k", std::to_string(top_k), "--dtype", "f32", "--quiet"});
        ASSERT_EQ(made.exit_code, 0) << made.err;
        copy_spoilt(first, last);
    }

    Words command(const std::string& out, const Words& more) const {
        Words words{"distill",
                    "--student",
                    world.path("model.h5"),
                    "--teacher-cache",
                    world.path("cache"),
                    "--data",
                    world.path("tokens"),
                    "--out",
                    world.path(out),
                    "--tokens",
                    std::to_string(steps_ * global_batch * seq_len),
                    "--seq-len",
                    std::to_string(seq_len),
                    "--global-batch",
                    std::to_string(global_batch),
                    "--loss",
                    "kl=1,ce=1",
                    "--top-k",
                    std::to_string(top_k),
                    "--dtype",
                    "f32"};
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }

    ProcessResult run(const std::string& out, const Words& more = {}, int ranks = 1) const {
        Words words = command(out, more);
        words.emplace_back("--quiet");
        return espalier(words, ranks);
    }

    /// The losses of the steps that have one.
    std::vector<double> losses(const std::string& out) const {
        std::vector<double> values;
        for (const auto& line : metrics(world, out)) {
            if (line.at("loss").is_number()) values.push_back(line.at("loss"));
        }
        return values;
    }

    const TinyWorld world;

private:
    void copy_spoilt(int64_t first, int64_t last) const {
        io::TensorFileReader from(world.path("whole/teacher.h5"), MPI_COMM_SELF, "");
        std::filesystem::create_directory(world.path("cache"));
        io::TensorFileWriter to(world.path("cache/teacher.h5"), MPI_COMM_SELF, from.tensors(),
                                io::Existing::keep);
        Context ctx({});
        for (const auto& spec : from.tensors()) {
            Tensor tensor = ctx.empty(spec.shape, spec.dtype);
            from.read(spec.name, whole(spec.shape), tensor);
            for (int64_t step = first; step <= last && spec.name == "log_p"; ++step) {
                for (float& v : tensor.rows((step * global_batch - 1) * seq_len, seq_len).span<float>())
                    v = std::numeric_limits<float>::quiet_NaN();
            }
            to.write(spec.name, whole(spec.shape), tensor);
        }
        for (const char* name : {"format", "teacher_sha256", "data", "samples_hash", "provenance"})
            to.attribute(name, from.text(name));
        for (const char* name :
             {"format_version", "vocab", "seq_len", "samples", "seed", "top_k", "reset_at"})
            to.attribute(name, static_cast<int64_t>(from.number(name)));
        to.attribute("temperature", from.number("temperature"));
        to.publish();
    }

    int64_t steps_ = 0;
};

TEST_F(SkippedSteps, AreTheSameOnEveryLayout) {
    make_cache(5, 2, 3);
    ASSERT_EQ(run("serial").exit_code, 0);
    ASSERT_EQ(losses("serial").size(), 3U);

    for (const Words& layout : two_ranks) {
        const std::string out = "run" + layout[0] + layout[1];
        ASSERT_EQ(run(out, layout, 2).exit_code, 0);

        EXPECT_EQ(metrics(world, out, "skipped_steps"), (std::vector<double>{0, 1, 2, 2, 2})) << out;
        expect_near(losses(out), losses("serial"), loss_tolerance);
    }
}

TEST_F(SkippedSteps, AreNoPartOfALinesMeans) {
    make_cache(4, 2, 2);

    const auto result = espalier(command("run", {"--log-every", "4"}));

    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto lm = metrics(world, "run", "lm_loss");
    const std::string field = "lm loss: ";
    const size_t at = result.out.find(field);
    ASSERT_NE(at, std::string::npos) << result.out;
    EXPECT_NEAR(std::stod(result.out.substr(at + field.size())), (lm[0] + lm[2] + lm[3]) / 3, 1e-5);
    EXPECT_NE(result.out.find("number of skipped iterations:   1"), std::string::npos) << result.out;
}

TEST_F(SkippedSteps, TwentyInARowEndTheRunOnEveryLayout) {
    make_cache(24, 3, 23);

    for (const Words& layout : two_ranks) {
        const std::string out = "run" + layout[0] + layout[1];

        const auto result = run(out, layout, 2);

        EXPECT_EQ(result.exit_code, 2) << result.err;
        EXPECT_NE(result.err.find("step 22: 20 steps in a row had no finite gradient; lower --lr"),
                  std::string::npos)
            << result.err;
        EXPECT_EQ(metrics(world, out).size(), 21U);
        EXPECT_FALSE(world.exists(out + "/model.h5"));
    }
}

TEST_F(SkippedSteps, AreCountedOnThroughStops) {
    make_cache(24, 3, 22);
    for (const char* last : {"9", "18"}) ASSERT_EQ(run("run", {"--exit-after-steps", last}).exit_code, 3);

    const auto result = run("run");

    expect_refusal(result, {"step 22: 20 steps in a row"});
}

TEST_F(SkippedSteps, TheLastOneAloneCostsNoModel) {
    make_cache(3, 3, 3);

    const auto result = run("run", {"--summary", world.path("summary.json")});

    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(
        result.err.find("the loss of the last step is nan, which says nothing of model.h5; 1 of 3 steps"),
        std::string::npos)
        << result.err;
    EXPECT_TRUE(world.exists("run/model.h5"));
    EXPECT_EQ(json::parse(world.read("summary.json")).at("skipped_steps"), 1);
}

TEST_F(SkippedSteps, AllOfThemLeaveNothingWorthAModel) {
    make_cache(3, 1, 3);

    const auto result = run("run");

    expect_refusal(result, {"none of its 3 steps had a finite gradient"});
    EXPECT_FALSE(world.exists("run/model.h5"));
}

}  // namespace
}  // namespace espalier::test
