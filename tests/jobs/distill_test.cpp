// Where a teacher comes from, and how a run is laid out, does not show in what the student learns.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "io/tensor_file.hpp"
#include "src/core/context.hpp"
#include "tests/jobs/metrics.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/support/tolerance.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

class Distill : public testing::Test {
protected:
    Distill() {
        EXPECT_EQ(espalier({"init", "--arch", world.path("arch.json"), "--out", world.path("teacher.h5"),
                            "--seed", "5", "--quiet"})
                      .exit_code,
                  0);
    }

    ProcessResult run(const std::string& out, const Words& more, int ranks = 1) const {
        Words words{"distill",
                    "--student",
                    world.path("model.h5"),
                    "--data",
                    world.path("tokens"),
                    "--out",
                    world.path(out),
                    "--tokens",
                    "384",
                    "--seq-len",
                    "16",
                    "--global-batch",
                    "4",
                    "--lr",
                    "1e-3",
                    "--warmup-steps",
                    "1",
                    "--dtype",
                    "f32",
                    "--quiet"};
        words.insert(words.end(), more.begin(), more.end());
        return espalier(words, ranks);
    }
    ProcessResult run_with_teacher(const std::string& out, Words more, int ranks = 1) const {
        more.insert(more.end(), {"--teacher", world.path("teacher.h5")});
        return run(out, more, ranks);
    }
    Words cache_words(const std::string& out, const Words& more) const {
        Words words{"teacher-cache",
                    "--teacher",
                    world.path("teacher.h5"),
                    "--data",
                    world.path("tokens"),
                    "--out",
                    world.path(out),
                    "--samples",
                    "24",
                    "--seq-len",
                    "16",
                    "--dtype",
                    "f32",
                    "--quiet"};
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }

    /// The cache as version 2 of its format had it, without tails.
    void write_version_2(const std::string& cache, const std::string& out) const {
        io::TensorFileReader from(world.path(cache + "/teacher.h5"), MPI_COMM_SELF, "");
        std::vector<io::TensorSpec> specs;
        for (const auto& spec : from.tensors()) {
            if (spec.name != "log_p_tail") specs.push_back(spec);
        }
        std::filesystem::create_directory(world.path(out));
        io::TensorFileWriter to(world.path(out + "/teacher.h5"), MPI_COMM_SELF, specs, io::Existing::keep);
        Context ctx({});
        for (const auto& spec : specs) {
            Tensor tensor = ctx.empty(spec.shape, spec.dtype);
            from.read(spec.name, whole(spec.shape), tensor);
            to.write(spec.name, whole(spec.shape), tensor);
        }
        for (const char* name : {"format", "teacher_sha256", "data", "samples_hash", "provenance"})
            to.attribute(name, from.text(name));
        for (const char* name : {"vocab", "seq_len", "samples", "seed", "top_k", "reset_at"})
            to.attribute(name, static_cast<int64_t>(from.number(name)));
        to.attribute("temperature", from.number("temperature"));
        to.attribute("format_version", int64_t{2});
        to.publish();
    }

    std::vector<double> values(const std::string& out, const char* key = "loss") const {
        return metrics(world, out, key);
    }

    const TinyWorld world;
};

TEST_F(Distill, ATeacherAheadOfItsStudentEndsWithAStopOnVirtualStages) {
    world.write(
        "six.json",
        R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 97, "hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 6,
        "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-5})");
    ASSERT_EQ(espalier({"init", "--arch", world.path("six.json"), "--out", world.path("six.h5"), "--quiet"})
                  .exit_code,
              0);
    // 3 x 64 x 48 f32 are more than a message that is sent before anybody wants it.
    const Words words{"distill",
                      "--student",
                      world.path("six.h5"),
                      "--teacher",
                      world.path("six.h5"),
                      "--data",
                      world.path("tokens"),
                      "--out",
                      world.path("run"),
                      "--tokens",
                      "2304",
                      "--seq-len",
                      "64",
                      "--global-batch",
                      "6",
                      "--micro-batch",
                      "3",
                      "--dtype",
                      "f32",
                      "--pp",
                      "2",
                      "--virtual-stages",
                      "3",
                      "--quiet"};
    Words stopped = words;
    stopped.insert(stopped.end(), {"--exit-after-steps", "3"});

    EXPECT_EQ(espalier(stopped, 2).exit_code, 3);
    EXPECT_EQ(espalier(words, 2).exit_code, 0);
    EXPECT_EQ(values("run").size(), 6U);
}

TEST_F(Distill, TheTeachersGridDoesNotShow) {
    ASSERT_EQ(run_with_teacher("serial", {}).exit_code, 0);

    ASSERT_EQ(run_with_teacher("a", {"--teacher-tp", "2", "--teacher-pp", "2"}, 4).exit_code, 0);
    ASSERT_EQ(run_with_teacher("b", {"--pp", "2", "--tp", "2", "--teacher-tp", "1", "--teacher-pp", "1"}, 4)
                  .exit_code,
              0);

    expect_near(values("a"), values("serial"), loss_tolerance);
    expect_near(values("b"), values("serial"), loss_tolerance);
}

TEST_F(Distill, VirtualStagesAndRecomputingDoNotShow) {
    ASSERT_EQ(run_with_teacher("serial", {}).exit_code, 0);

    ASSERT_EQ(
        run_with_teacher("v", {"--pp", "2", "--virtual-stages", "2", "--recompute", "full"}, 2).exit_code, 0);
    ASSERT_EQ(run_with_teacher("none", {"--recompute", "none"}).exit_code, 0);

    expect_near(values("v"), values("serial"), loss_tolerance);
    expect_near(values("none"), values("serial"), loss_tolerance);
}

TEST_F(Distill, HeldOutTextIsScoredByAllVirtualStages) {
    const Words held_out{"--valid", world.path("tokens"), "--valid-every", "2"};
    ASSERT_EQ(run_with_teacher("serial", held_out).exit_code, 0);

    Words words = held_out;
    words.insert(words.end(), {"--pp", "2", "--virtual-stages", "2", "--tp", "2"});
    ASSERT_EQ(run_with_teacher("v", words, 4).exit_code, 0);

    ASSERT_EQ(values("serial", "valid_loss").size(), 3U);
    expect_near(values("v", "valid_loss"), values("serial", "valid_loss"), loss_tolerance);
}

TEST_F(Distill, JobsThatDoNotTrainLeaveVirtualStagesAlone) {
    const std::vector<std::string> plain{
        "evaluate", "--model", world.path("model.h5"), "--data", world.path("tokens"), "--seq-len", "16",
        "--dtype",  "f32"};
    auto with_stages = plain;
    with_stages.insert(with_stages.end(), {"--pp", "2", "--virtual-stages", "2"});

    const auto result = espalier(with_stages, 2);

    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(result.out.find("--virtual-stages 2"), std::string::npos) << result.out;
}

TEST_F(Distill, AStoppedRunGoesOnWithAnotherNumberOfReplicas) {
    ASSERT_EQ(run_with_teacher("serial", {}).exit_code, 0);

    ASSERT_EQ(run_with_teacher("r", {"--exit-after-steps", "2"}, 4).exit_code, 3);
    ASSERT_EQ(run_with_teacher("r", {"--tp", "3", "--exit-after-steps", "4"}, 3).exit_code, 3);
    ASSERT_EQ(run_with_teacher("r", {}, 2).exit_code, 0);

    expect_near(values("r"), values("serial"), loss_tolerance);
}

TEST_F(Distill, ACacheOfWholeDistributionsIsAsGoodAsTheTeacher) {
    ASSERT_EQ(run_with_teacher("live", {}).exit_code, 0);
    ASSERT_EQ(espalier(cache_words("cache", {"--tp", "2"}), 2).exit_code, 0);

    const auto result = run("cached", {"--teacher-cache", world.path("cache"), "--tp", "3"}, 3);

    ASSERT_EQ(result.exit_code, 0) << result.err;
    expect_near(values("cached"), values("live"), 2e-3);  // log p in steps of 5e-4
}

TEST_F(Distill, ACacheOfTheTopTokensIsWhatTopKComparesWith) {
    ASSERT_EQ(run_with_teacher("live", {"--top-k", "5", "--temperature", "2"}).exit_code, 0);
    ASSERT_EQ(
        espalier(cache_words("cache", {"--top-k", "5", "--temperature", "2", "--pp", "2"}), 4).exit_code, 0);

    const auto result =
        run("cached",
            {"--teacher-cache", world.path("cache"), "--top-k", "5", "--temperature", "2", "--tp", "2"}, 2);

    ASSERT_EQ(result.exit_code, 0) << result.err;
    expect_near(values("cached"), values("live"), loss_tolerance);
}

TEST_F(Distill, ACacheKnowsTailsHoweverSmall) {
    // At this temperature most of the teacher's tails are far below what 1 less 5 probabilities can tell.
    const Words sure{"--top-k", "5", "--temperature", "0.002"};
    Words words = sure;
    words.insert(words.end(), {"--loss", "reverse-kl"});
    ASSERT_EQ(run_with_teacher("live", words).exit_code, 0);
    ASSERT_EQ(espalier(cache_words("cache", sure)).exit_code, 0);
    words.insert(words.end(), {"--teacher-cache", world.path("cache")});

    ASSERT_EQ(run("cached", words).exit_code, 0);

    // Before the first update: what follows depends on rounding, so steep is this loss.
    EXPECT_GT(values("live").front(), 20) << "which probabilities of 1e-7 at least would not make";
    expect_near({values("cached").front()}, {values("live").front()}, loss_tolerance);
}

TEST_F(Distill, ACacheWithoutTailsIsReadAsItWasMade) {
    const Words options{"--top-k", "5", "--temperature", "2"};
    ASSERT_EQ(run_with_teacher("live", options).exit_code, 0);
    ASSERT_EQ(espalier(cache_words("cache", options)).exit_code, 0);
    write_version_2("cache", "old");
    Words words = options;
    words.insert(words.end(), {"--teacher-cache", world.path("old")});

    const auto result = run("cached", words);

    ASSERT_EQ(result.exit_code, 0) << result.err;
    expect_near(values("cached"), values("live"), loss_tolerance);
}

TEST_F(Distill, ACacheOfSomethingElseIsRefused) {
    ASSERT_EQ(espalier(cache_words("cache", {"--top-k", "5"})).exit_code, 0);
    const Words use{"--teacher-cache", world.path("cache")};
    const auto refused = [&](Words more, const std::string& reason) {
        more.insert(more.end(), use.begin(), use.end());
        expect_refusal(run("refused", more), {reason});
        EXPECT_FALSE(world.exists("refused"));
    };

    refused({}, "--top-k");
    refused({"--top-k", "5", "--seed", "7"}, "--seed");
    refused({"--top-k", "5", "--temperature", "2"}, "--temperature");
    refused({"--top-k", "5", "--teacher", world.path("model.h5")}, "teacher");
    refused({"--top-k", "5", "--teacher-tp", "2"}, "--teacher-tp");
    const std::string tokens = world.read("tokens.bin");
    std::string other = tokens;
    other[0] = static_cast<char>(other[0] ^ 1);
    world.write("tokens.bin", other);
    refused({"--top-k", "5"}, "other samples");
    world.write("tokens.bin", tokens);
    std::string damaged = world.read("cache/teacher.h5");
    damaged[damaged.size() - 40] = static_cast<char>(damaged[damaged.size() - 40] ^ 1);
    world.write("cache/teacher.h5", damaged);
    refused({"--top-k", "5"}, "teacher.h5");
}

TEST_F(Distill, ALossWithoutAnyWeightIsRefused) {
    for (const auto* loss : {"kl=0", "ce=0", "reverse-kl=0,ce=0"}) {
        const auto result = run_with_teacher("refused", {"--loss", loss});
        EXPECT_EQ(result.exit_code, 2);
        EXPECT_NE(result.err.find(std::string("--loss ") + loss + ": every weight is 0"), std::string::npos)
            << result.err;
        EXPECT_FALSE(world.exists("refused"));
    }
}

TEST_F(Distill, OptionsOfADivergenceAreRefusedWithoutOne) {
    for (const Words& option : std::vector<Words>{
             {"--top-k", "5"}, {"--temperature", "2"}, {"--teacher-cache", world.path("cache")}}) {
        const auto result = run("refused", {"--loss", "ce", option[0], option[1]});
        expect_refusal(result, {"--loss ce: ", option[0] + " is for that"});
        EXPECT_FALSE(world.exists("refused"));
    }
}

TEST_F(Distill, ARunInBf16LearnsFromTheWeightsThatTheFileHas) {
    const auto sha256 = [&](const std::string& file) {
        return io::TensorFileReader(world.path(file), MPI_COMM_SELF, "").content_sha256();
    };
    const std::map<int, Words> layouts{{1, {}}, {2, {"--pp", "2"}}, {4, {"--tp", "2"}}};
    for (const auto& [ranks, layout] : layouts) {
        Words words{"train",
                    "--model",
                    world.path("model.h5"),
                    "--data",
                    world.path("tokens"),
                    "--out",
                    world.path(fmt::format("r{}", ranks)),
                    "--tokens",
                    "128",
                    "--seq-len",
                    "16",
                    "--global-batch",
                    "4",
                    "--lr",
                    "1e-30",
                    "--min-lr",
                    "0",
                    "--dtype",
                    "bf16",
                    "--quiet"};
        words.insert(words.end(), layout.begin(), layout.end());

        const auto result = espalier(words, ranks);

        ASSERT_EQ(result.exit_code, 0) << result.err;
        EXPECT_EQ(sha256(fmt::format("r{}/model.h5", ranks)), sha256("model.h5"));
    }
}

TEST_F(Distill, ACorrectedTeacherLearnsAsAloneAndComesBackAfterAStop) {
    const Words corrected{"--correct-teacher", "--teacher-lr", "1e-2"};
    ASSERT_EQ(run_with_teacher("whole", corrected).exit_code, 0);
    Words first = corrected;
    first.insert(first.end(), {"--exit-after-steps", "3"});

    ASSERT_EQ(run_with_teacher("r", first).exit_code, 3);
    ASSERT_EQ(run_with_teacher("r", corrected).exit_code, 0);

    const Words alone{"train",
                      "--model",
                      world.path("teacher.h5"),
                      "--data",
                      world.path("tokens"),
                      "--out",
                      world.path("alone"),
                      "--tokens",
                      "384",
                      "--seq-len",
                      "16",
                      "--global-batch",
                      "4",
                      "--lr",
                      "1e-2",
                      "--min-lr",
                      "1e-4",
                      "--warmup-steps",
                      "1",
                      "--dtype",
                      "f32",
                      "--quiet"};
    ASSERT_EQ(espalier(alone).exit_code, 0);
    const auto teacher = values("whole", "teacher_loss");
    expect_near(teacher, values("alone"), loss_tolerance);
    EXPECT_EQ(values("r"), values("whole"));
    EXPECT_EQ(values("r", "teacher_loss"), teacher);
    EXPECT_TRUE(world.exists("r/teacher.h5"));
}

}  // namespace
}  // namespace espalier::test
