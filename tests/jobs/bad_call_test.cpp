// Options, numbers, layouts and launchers that a job cannot go by.
#include <nlohmann/json.hpp>

#include "tests/jobs/bad_input.hpp"

namespace espalier::test {
namespace {

using BadCall = BadInput;

TEST_F(BadCall, UnknownJobsAndOptions) {
    expect_refused({"prunee"}, {"prunee", "--help"});
    expect_refused({"prune", "--model", path("model.h5"), "--out", path("o.h5"), "--headz", "3"}, {"headz"});
    expect_refused({"prune", "--out", path("o.h5")}, {"model"});
    expect_refused({"evaluate", "--model", path("model.h5"), "--data", path("tokens"), "--seq-len", "many"},
                   {"seq-len"});
    expect_refused({"evaluate", "--model", "--data", path("tokens")},
                   {"--model has no value: --data follows"});
}

TEST_F(BadCall, ConfigFilesWithUnknownKeysOrSections) {
    world().write("bad.ini", "[evaluate]\nmodle = x\n");
    expect_refused({"evaluate", "--config", path("bad.ini"), "--model", path("model.h5")},
                   {"bad.ini", "modle"});
    world().write("bad.ini", "[evalute]\nmodel = x\n");
    expect_refused({"evaluate", "--config", path("bad.ini"), "--model", path("model.h5")},
                   {"bad.ini", "evalute"});
}

TEST_F(BadCall, TargetsThatTheModelDoesNotHave) {
    const std::vector<std::string> prune{"prune",           "--model", path("model.h5"), "--importance",
                                         path("scores.h5"), "--out",   path("o.h5")};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), prune.begin(), prune.end());
        return more;
    };
    expect_refused(with({"--heads", "7"}), {"--heads 7", "6 query heads", "--heads <= 6"});
    expect_refused(with({"--heads", "4"}), {"4", "--kv-heads 3"});
    expect_refused(with({"--hidden", "25"}), {"--hidden", "24"});
    expect_refused(with({"--layers", "0"}), {"--layers 0"});
    expect_refused(with({"--head-dim", "9"}), {"--head-dim", "8"});
    expect_refused(with({"--head-dim", "4"}), {"importance --head-dims"});
    expect_refused(with({"--head-residual", "best"}), {"--head-residual best", "paper"});
    expect_refused(with({"--ffn", "8", "--head-residual", "paper"}), {"--heads"});
    expect_refused(with({"--heads", "3", "--kv-heads", "3", "--head-residual", "both"}), {"both"});
    expect_refused(with({"--kv-heads", "2", "--heads", "2", "--head-residual", "laco"}), {"whole groups"});
    expect_refused(with({"--hidden", "8", "--iterations", "2"}), {"--iterations 2", "--data"});
    expect_refused(with({"--hidden", "8", "--iterations", "0", "--data", path("tokens")}),
                   {"--iterations 0"});
    expect_refused(with({"--drop-layers", "1", "--iterations", "2", "--data", path("tokens")}),
                   {"--drop-layers"});
    expect_refused(with({"--vocab", "98", "--vocab-data", path("tokens")}), {"--vocab 98", "97"});
    expect_refused(with({"--ffn", "16", "--vocab-data", path("tokens")}), {"--vocab-data", "--vocab N"});
    expect_refused(with({"--drop-layers", "2-9"}), {"--drop-layers", "0 to 3"});
    expect_refused(prune, {"nothing to cut"});
    expect_refused({"prune", "--model", path("model.h5"), "--hidden", "8", "--out", path("o.h5")},
                   {"--importance"});
}

TEST_F(BadCall, WhatEvaluateDumpsIsNone) {
    const auto dumped =
        espalier({"evaluate", "--model", path("model.h5"), "--data", path("tokens"), "--dump-config"});
    world().write("dumped.ini", dumped.out);

    const auto result = espalier({"evaluate", "--config", path("dumped.ini"), "--quiet"});

    EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST_F(BadCall, OptionsThatWouldChangeNothingBesideTheOthers) {
    const auto prune = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"prune", "--model", path("model.h5"), "--out", path("o.h5")});
        return more;
    };
    const std::string scores = path("scores.h5");
    expect_refused(prune({"--importance", scores, "--hidden", "8", "--depth-by", "ppl"}),
                   {"--depth-by", "--layers"});
    expect_refused(prune({"--importance", scores, "--hidden", "8", "--contiguous"}),
                   {"--contiguous", "--layers"});
    expect_refused(prune({"--importance", scores, "--hidden", "8", "--ffn-site", "pre"}),
                   {"--ffn-site", "--data"});
    expect_refused(prune({"--importance", scores, "--hidden", "8", "--samples", "5"}),
                   {"--samples", "--data"});
    expect_refused(prune({"--drop-layers", "2", "--check-tolerance", "0.1"}),
                   {"--check-tolerance", "--check"});
    expect_refused(prune({"--drop-layers", "2", "--seq-aggregate", "var"}), {"--seq-aggregate", "no scores"});
    expect_refused({"importance", "--model", path("model.h5"), "--data", path("tokens"), "--out",
                    path("i.h5"), "--depth", "none", "--depth-block", "2"},
                   {"--depth-block 2", "--depth none"});
    expect_refused({"generate", "--model", path("model.h5"), "--prompt", "a", "--top-p", "0.5"},
                   {"--top-p 0.5", "--temperature"});
    expect_refused({"plan", "--calibrate", "--out", path("here.json"), "--gpus", "8"},
                   {"--gpus", "--calibrate"});
    expect_refused({"search", "--model", path("model.h5"), "--out", path("c.json"), "--params-max", "1e9",
                    "--tolerance", "0.1"},
                   {"--tolerance", "--params"});
    expect_refused({"search", "--model", path("model.h5"), "--out", path("c.json"), "--params-max", "1e9",
                    "--data", path("tokens")},
                   {"--data", "--importance"});
}

TEST_F(BadCall, ACheckOfACutThatTheRanksCannotHold) {
    expect_refused({"prune", "--model", path("model.h5"), "--drop-layers", "1-3", "--out", path("o.h5"),
                    "--check", path("tokens"), "--pp", "2"},
                   {"--pp 2", "the cut model", "only 1 layers"}, 2);
}

TEST_F(BadCall, LayoutsThatTheModelOrTheRanksDoNotFill) {
    const std::vector<std::string> evaluate{"evaluate", "--model", path("model.h5"), "--data",
                                            path("tokens")};
    auto tp = evaluate, pp = evaluate;
    tp.insert(tp.end(), {"--tp", "7"});
    pp.insert(pp.end(), {"--pp", "5"});
    expect_refused(tp, {"--tp <= 6"}, 7);
    expect_refused(pp, {"--pp <= 4"}, 5);
    auto three = evaluate;
    three.insert(three.end(), {"--tp", "2"});
    expect_refused(three, {"3 ranks"}, 3);
}

TEST_F(BadCall, LayoutsThatTheTeacherOrTheRanksDoNotFill) {
    const auto with = [&](const std::vector<std::string>& more) {
        return distill_arguments(world(), "run", more);
    };
    expect_refused(with({"--teacher-tp", "7"}), {"--teacher-tp 7:", "--teacher-tp <= 6"});
    expect_refused(with({"--teacher-pp", "5"}), {"--teacher-pp 5:", "--teacher-pp <= 4"});
    expect_refused(with({"--teacher-tp", "3"}), {"1 ranks", "--teacher-tp 3 x --pp 1"});
}

TEST_F(BadCall, VirtualStagesOfALoneStage) {
    expect_refused(distill_arguments(world(), "run", {"--virtual-stages", "2"}),
                   {"--virtual-stages 2", "--pp 2"});
}

TEST_F(BadCall, IsToldToALauncherThatNamesAFile) {
    const std::string file = path("exit_code");
    const auto evaluate = [&](const std::string& tp) {
        return espalier({"evaluate", "--model", path("model.h5"), "--data", path("tokens"), "--seq-len", "16",
                         "--tp", tp, "--quiet"},
                        2, {"ESPALIER_EXIT_CODE_FILE=" + file});
    };

    EXPECT_EQ(evaluate("2").exit_code, 0);
    EXPECT_FALSE(world().exists("exit_code"));

    EXPECT_EQ(evaluate("3").exit_code, 2);
    EXPECT_EQ(world().read("exit_code"), "2\n");
}

TEST_F(BadCall, SizesOfNothing) {
    for (const char* option : {"--tokens", "--seq-len", "--global-batch"}) {
        std::vector<std::string> words{"train",        "--model", path("model.h5"), "--data",
                                       path("tokens"), "--out",   path("nothing")};
        for (const char* other : {"--tokens", "--seq-len", "--global-batch"})
            words.insert(words.end(), {other, std::string_view(other) == option ? "0" : "16"});
        expect_refused(words, {option, "must be positive"});
    }
}

TEST_F(BadCall, LearningRatesAndTemperaturesThatAreNoNumbers) {
    for (const char* option : {"--weight-decay", "--temperature", "--clip-grad"})
        expect_refused(distill_arguments(world(), "nan", {option, "inf"}), {option, "inf"});
}

TEST_F(BadCall, NumbersThatAreTooLarge) {
    const std::vector<std::string> evaluate{"evaluate", "--model", path("model.h5"), "--data",
                                            path("tokens")};
    const auto with = [&](std::vector<std::string> words) {
        words.insert(words.begin(), evaluate.begin(), evaluate.end());
        return words;
    };
    expect_refused(with({"--tp", "65536", "--pp", "65536"}), {"cannot form replicas", "4294967296"});
    expect_refused(with({"--threads", "100000"}), {"--threads 100000"});
    expect_refused(with({"--seed", "4294967296"}), {"--seed 4294967296"});
    expect_refused(with({"--micro-batch", "9223372036854775807"}),
                   {"--micro-batch 9223372036854775807", "between 1 and 16777216"});
    auto wide = nlohmann::json::parse(world().read("arch.json"));
    wide["hidden_size"] = wide["vocab_size"] = int64_t{1} << 30;
    world().write("wide.json", wide.dump());
    expect_refused({"init", "--arch", path("wide.json"), "--out", path("wide.h5")}, {"wide.json", "weights"});
}

TEST_F(BadCall, RanksStartedWithDifferentOptions) {
    const std::vector<std::string> evaluate{ESPALIER_PROGRAM, "evaluate", "--model",
                                            path("model.h5"), "--data",   path("tokens")};
    for (const std::vector<std::string>& others : {std::vector<std::string>{"--seq-len", "8"}, {"--help"}}) {
        std::vector<std::string> words{"mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "1"};
        words.insert(words.end(), evaluate.begin(), evaluate.end());
        words.insert(words.end(), {":", "-n", "1"});
        words.insert(words.end(), evaluate.begin(), evaluate.end());
        words.insert(words.end(), others.begin(), others.end());

        const auto result = run_process(words);

        expect_refusal(result, {"different options"});
    }
}

TEST_F(BadCall, WordsThatAreNotUtf8) {
    expect_refused({"init", "--arch", path("arch.json"), "--out", path("x\xe9.h5")}, {"x\\xe9.h5", "UTF-8"});
}

TEST_F(BadCall, NobodyWhoReadsStandardErrorIsNoMatterOfTheJob) {
    const std::string command = std::string(ESPALIER_PROGRAM) + " evaluate --model " + path("model.h5") +
                                " --data " + path("tokens") + " --seq-len 8 ";
    for (const char* broken : {"2>/dev/full", "2>&-", "2>&- >&- <&-"})
        EXPECT_EQ(run_process({"sh", "-c", command + broken}).exit_code, 0) << broken;
}

TEST_F(BadCall, WhatWasAskedForAndCannotBePrinted) {
    const std::string inspect = "inspect " + path("model.h5");
    for (const std::string& words :
         {std::string("--help"), std::string("--version"), std::string("prune --help"),
          std::string("prune --version"), inspect, inspect + " --json", inspect + " --dump-config"}) {
        const std::string command = std::string(ESPALIER_PROGRAM) + " " + words;
        ASSERT_EQ(run_process({"sh", "-c", command + " >/dev/null"}).exit_code, 0) << words;

        const auto result = run_process({"sh", "-c", command + " >/dev/full"});

        EXPECT_EQ(result.exit_code, 2) << words;
        EXPECT_NE(result.err.find("standard output cannot be written"), std::string::npos) << words;
    }
}

TEST_F(BadCall, TasksOfALauncherThatDidNotFindEachOther) {
    const auto result =
        run_process({ESPALIER_PROGRAM, "inspect", path("model.h5")},
                    {"SLURM_PROCID=0", "SLURM_STEP_ID=0", "SLURM_STEP_NUM_TASKS=4", "SLURM_NTASKS=4"});

    expect_refusal(result, {"--mpi=pmix"});
}

}  // namespace
}  // namespace espalier::test
