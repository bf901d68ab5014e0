// Training runs that are told to stop: at a step, by a signal, by a file in their folder.
#include <gtest/gtest.h>

#include "tests/jobs/metrics.hpp"
#include "tests/jobs/outcome.hpp"

namespace espalier::test {
namespace {

#ifdef ESPALIER_MISHAPS

TEST(RunStop, StopsBeforeItsNextStepOnASignalWhileItLoads) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "whole")).exit_code, 0);
    const auto stopped_while_loading = [&](int ranks) {
        return espalier(distill_arguments(world, "run"), ranks,
                        {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_SIGNAL_AT=tokens.idx"});
    };

    EXPECT_EQ(stopped_while_loading(2).exit_code, 3);
    EXPECT_FALSE(world.exists("run/metrics.jsonl"));
    ASSERT_EQ(espalier(distill_arguments(world, "run", {"--exit-after-steps", "2"})).exit_code, 3);
    EXPECT_EQ(stopped_while_loading(1).exit_code, 3);
    EXPECT_EQ(losses(world, "run").size(), 2U);

    EXPECT_EQ(espalier(distill_arguments(world, "run")).exit_code, 0);
    EXPECT_EQ(losses(world, "run"), losses(world, "whole"));
}

TEST(RunStop, DoesNotTouchProductsThatSignalsInterrupt) {
    const TinyWorld world;
    world.write("arch.json",
                R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 97, "hidden_size": 256,
        "intermediate_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
        "head_dim": 64, "max_position_embeddings": 256, "rms_norm_eps": 1e-5})");
    expect_done(
        espalier({"init", "--arch", world.path("arch.json"), "--out", world.path("wide.h5"), "--quiet"}));
    const auto train = [&](const std::string& out, const std::vector<std::string>& environment) {
        return espalier({"train",
                         "--model",
                         world.path("wide.h5"),
                         "--data",
                         world.path("tokens"),
                         "--out",
                         world.path(out),
                         "--tokens",
                         "32768",
                         "--seq-len",
                         "256",
                         "--global-batch",
                         "16",
                         "--micro-batch",
                         "2",
                         "--lr",
                         "1e-3",
                         "--dtype",
                         "f32",
                         "--quiet",
                         "--exit-after-steps",
                         "1"},
                        1, environment);
    };
    ASSERT_EQ(train("whole", {}).exit_code, 3);

    const auto stopped =
        train("run", {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_SIGNALS_FROM=metrics.jsonl"});

    EXPECT_EQ(stopped.exit_code, 3) << stopped.err;
    EXPECT_EQ(losses(world, "run"), losses(world, "whole"));
}

TEST(RunStop, StopsBeforeItsNextStepForAFileMadeWhileItLoads) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "run", {"--exit-after-steps", "2"})).exit_code, 3);

    const auto stopped = espalier(distill_arguments(world, "run"), 2,
                                  {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_MAKE_AT=tokens.idx",
                                   "ESPALIER_MAKE=" + world.path("run/stop")});

    EXPECT_EQ(stopped.exit_code, 3) << stopped.err;
    EXPECT_EQ(losses(world, "run").size(), 2U);
    EXPECT_EQ(espalier(distill_arguments(world, "run")).exit_code, 0);
}

TEST(RunStop, StopsAtACheckpointForAFileInItsFolder) {
    const TinyWorld world;
    const auto run = [&](const std::string& out, const std::vector<std::string>& environment = {}) {
        return espalier(distill_arguments(world, out, {"--checkpoint-every", "2"}), 2, environment);
    };
    ASSERT_EQ(run("whole").exit_code, 0);

    const auto stopped = run("run", {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_MAKE_AT=step-2.h5.partial",
                                     "ESPALIER_MAKE=" + world.path("run/stop")});

    EXPECT_EQ(stopped.exit_code, 3) << stopped.err;
    EXPECT_EQ(losses(world, "run").size(), 3U);
    EXPECT_EQ(world.read("run/latest"), "checkpoints/step-3.h5\n");
    EXPECT_FALSE(world.exists("run/model.h5"));
    EXPECT_EQ(run("run").exit_code, 0) << "the file ends one start only";
    EXPECT_EQ(losses(world, "run"), losses(world, "whole"));
}

#endif

}  // namespace
}  // namespace espalier::test
