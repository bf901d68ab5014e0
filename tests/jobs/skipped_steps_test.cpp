// Steps whose gradient is not finite: what a run makes of them, on every layout.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "io/tensor_file.hpp"
#include "src/core/context.hpp"
#include "tests/jobs/metrics.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

constexpr int64_t seq_len = 8, global_batch = 4, top_k = 5;

/// Runs on a cache of a teacher whose words for some steps are no numbers, so that neither are the gradients
/// of these steps, while all weights stay finite.
class SkippedSteps : public testing::Test {
protected:
    /// The cache of a run of `steps` steps, in which those from `first` to `last`, from 1, are spoilt.
    void make_cache(int64_t steps, int64_t first, int64_t last) {
        steps_ = steps;
        for (const char* folder : {"whole", "cache"}) std::filesystem::remove_all(world.path(folder));
        const auto made = espalier(
            {"teacher-cache", "--teacher", world.path("model.h5"), "--data", world.path("tokens"), "--out",
             world.path("whole"), "--samples", std::to_string(steps * global_batch), "--seq-len",
             std::to_string(seq_len), "--top-k", std::to_string(top_k), "--dtype", "f32", "--quiet"});
        ASSERT_EQ(made.exit_code, 0) << made.err;
        copy_cache(global_batch * seq_len * (first - 1), global_batch * seq_len * last);
    }

    ProcessResult run(const std::string& out, const Words& more = {}, int ranks = 1) const {
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
                    "f32",
                    "--quiet"};
        words.insert(words.end(), more.begin(), more.end());
        return espalier(words, ranks);
    }

    const TinyWorld world;

private:
    /// Spoils the tokens [first, last).
    void copy_cache(int64_t first, int64_t last) const {
        io::TensorFileReader from(world.path("whole/teacher.h5"), MPI_COMM_SELF, "");
        std::filesystem::create_directory(world.path("cache"));
        io::TensorFileWriter to(world.path("cache/teacher.h5"), MPI_COMM_SELF, from.tensors(), false);
        Context ctx({});
        for (const auto& spec : from.tensors()) {
            Tensor tensor = ctx.empty(spec.shape, spec.dtype);
            from.read(spec.name, whole(spec.shape), tensor);
            if (spec.name == "log_p") {
                for (float& v : tensor.rows(first, last - first).span<float>())
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

    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_NE(result.err.find("none of its 3 steps had a finite gradient"), std::string::npos) << result.err;
    EXPECT_FALSE(world.exists("run/model.h5"));
}

}  // namespace
}  // namespace espalier::test
