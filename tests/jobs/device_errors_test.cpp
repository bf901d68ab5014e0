// What keeps a job from its devices is said, with the way out, and never a hang.
#include <gtest/gtest.h>

#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"

namespace espalier::test {
namespace {

using Words = std::vector<std::string>;

class DeviceErrors : public testing::Test {
protected:
    ProcessResult evaluate(const Words& environment, int ranks = 1, Words more = {"--device", "cuda"}) const {
        Words words{
            "evaluate", "--model", world.path("model.h5"), "--data", world.path("tokens"), "--seq-len", "16",
            "--dtype",  "f32"};
        words.insert(words.end(), more.begin(), more.end());
        return espalier(words, ranks, environment);
    }
    const TinyWorld world;
};

TEST_F(DeviceErrors, AMissingDriverIsSaid) {
    expect_refusal(evaluate({"ESPALIER_RIG_MACHINE=no-driver"}), {"no NVIDIA driver", "--device cpu"});
}

TEST_F(DeviceErrors, AMissingDeviceIsSaid) {
    expect_refusal(evaluate({}), {"sees no device", "--gpus-per-node"});
}

TEST_F(DeviceErrors, ACardThatIsTooOldIsSaid) {
    expect_refusal(evaluate({"ESPALIER_RIG_DEVICES=1", "ESPALIER_RIG_MACHINE=old-card"}),
                   {"7.0", "8.0 (A100)"});
}

TEST_F(DeviceErrors, MixedCardsAreRefusedByAllRanks) {
    expect_refusal(evaluate({"ESPALIER_RIG_DEVICES=2", "ESPALIER_RIG_MACHINE=mixed-cards"}, 2),
                   {"rank 0 has \"a processor", "rank 1 \"another", "one kind"});
}

TEST_F(DeviceErrors, TwoRanksShareADeviceOnlyWhereAskedTo) {
    const Words one{"ESPALIER_RIG_DEVICES=1"};

    expect_refusal(evaluate(one, 2), {"ranks 0 and 1 share the device", "--share-device"});
    EXPECT_EQ(evaluate(one, 2, {"--device", "cuda", "--share-device", "--tp", "2"}).exit_code, 0);
}

TEST_F(DeviceErrors, AnNcclThatCannotShareADeviceIsSaid) {
    expect_refusal(evaluate({"ESPALIER_RIG_DEVICES=1", "ESPALIER_RIG_MACHINE=old-nccl"}, 2,
                            {"--device", "cuda", "--share-device", "--tp", "2"}),
                   {"NCCL 2.28.9", "2.30 or newer"});
}

TEST_F(DeviceErrors, MoreRanksThanDevicesAreRefused) {
    expect_refusal(evaluate({"ESPALIER_RIG_DEVICES=2"}, 3), {"3 ranks on this node, 2 devices"});
}

TEST_F(DeviceErrors, AutoTakesTheProcessorWhereRanksWouldShareAndSaysSo) {
    const auto result = evaluate({"ESPALIER_RIG_DEVICES=1"}, 2, {});

    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(result.err.find("runs on the CPU, not on the GPUs"), std::string::npos) << result.err;
}

TEST_F(DeviceErrors, OutOfDeviceMemoryEndsTheJobOnAllRanks) {
    expect_refusal(evaluate({"ESPALIER_RIG_DEVICES=2", "ESPALIER_RIG_MEMORY=40000"}, 2),
                   {"out of device memory", "--micro-batch"});
}

TEST_F(DeviceErrors, ARankThatNcclFailsOnEndsTheOthersThatWaitForIt) {
    for (const char* split : {"--tp", "--pp"}) {
        expect_refusal(evaluate({"ESPALIER_RIG_DEVICES=2", "ESPALIER_RIG_NCCL_FAILS_ON=1"}, 2,
                                {"--device", "cuda", split, "2"}),
                       {"ncclCommInitRank", "NCCL_DEBUG"}, 1);
    }
}

TEST_F(DeviceErrors, RanksThatExchangeNoTensorsDoWithoutNccl) {
    const auto result = evaluate({"ESPALIER_RIG_DEVICES=2", "ESPALIER_RIG_NCCL_FAILS_ON=1"}, 2);

    EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST_F(DeviceErrors, AnOperationThatFailsUnderWayEndsWhoWaitsForIt) {
    for (const char* split : {"--tp", "--pp"}) {
        expect_refusal(evaluate({"ESPALIER_RIG_DEVICES=2", "ESPALIER_RIG_NCCL_BREAKS_ON=1"}, 2,
                                {"--device", "cuda", split, "2"}),
                       {"an operation of NCCL failed", "NCCL_DEBUG"}, 1);
    }
}

TEST_F(DeviceErrors, AJobThatDoesNotComputeRefusesADevice) {
    const auto result =
        espalier({"prune", "--model", world.path("model.h5"), "--importance", world.path("scores.h5"),
                  "--out", world.path("p.h5"), "--hidden", "16", "--device", "cuda"},
                 1, {"ESPALIER_RIG_DEVICES=1"});

    expect_refusal(result, {"prune works on files", "leave --device out"});
}

}  // namespace
}  // namespace espalier::test
