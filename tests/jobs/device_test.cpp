// Whole jobs with --device cuda: their results are those of the CPU, on every layout. Over
// tests/cuda_on_host device memory faults when the host looks into it, so that these also find what was not
// copied. On GPUs, layouts run as far as there are devices, or with ESPALIER_TEST_SHARE_DEVICE=1 all on one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "io/indexed_dataset.hpp"
#include "io/tensor_file.hpp"
#include "src/core/device.hpp"
#include "tests/jobs/program.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/device.hpp"
#include "tests/support/tolerance.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;

/// As many ranks as it says; what --tp and --pp leave are replicas.
struct Grid {
    const char* name;
    int ranks;
    const char* options;
};
constexpr Grid serial{"serial", 1, ""}, two_tensor_parts{"tp2", 2, " --tp 2"},
    two_stages{"pp2", 2, " --pp 2"}, two_replicas{"dp2", 2, ""}, three_replicas{"dp3", 3, ""};

void PrintTo(const Grid& grid, std::ostream* out) {
    *out << grid.name;
}

bool shares_device() {
    return std::getenv("ESPALIER_TEST_SHARE_DEVICE") != nullptr;
}

// A chain of four layers, forward (and backward) of about five operations each.
constexpr double chain = 20;

constexpr const char* nemotron =
    R"({"architectures": ["NemotronForCausalLM"], "vocab_size": 97, "hidden_size": 20, "intermediate_size": 30, "num_hidden_layers": 4,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "partial_rotary_factor": 0.5, "max_position_embeddings": 64})";

class OnDevice : public testing::TestWithParam<Grid> {
protected:
    void SetUp() override {
        if (test_device() == Device::cuda && !shares_device() && device::count() < GetParam().ranks)
            GTEST_SKIP() << "a device for each of " << GetParam().ranks << " ranks is not here";
        world.emplace();
        world->write("nemotron.json", nemotron);
        on_cpu("init --arch @nemotron.json --out @nemotron.h5 --seed 5");
        io::IndexedDatasetWriter tokens(world->path("few"), 97, io::Existing::keep);
        for (uint64_t document = 0; document < 3; ++document) {
            std::vector<int32_t> ids;
            for (const double v : random_values(30, document, 20))
                ids.push_back(static_cast<int32_t>(std::abs(v)) % 97);
            tokens.add(ids);
        }
        tokens.finish();
    }

    /// A command line in which @ stands for the folder.
    ProcessResult run(const std::string& line, int ranks = 1) const {
        std::vector<std::string> words;
        std::istringstream in(line + " --quiet");
        for (std::string word; in >> word;)
            words.push_back(word[0] == '@' ? world->path(word.substr(1)) : word);
        return espalier(words, ranks, {"ESPALIER_RIG_DEVICES=8"});
    }
    void on_cpu(const std::string& line) const {
        const auto result = run(line + " --device cpu");
        ASSERT_EQ(result.exit_code, 0) << line << "\n" << result.err;
    }
    /// On the grid of this case.
    void on_device(const std::string& line, int exit_code = 0) const {
        const auto result =
            run(line + (shares_device() ? " --share-device" : "") + " --device cuda" + GetParam().options,
                GetParam().ranks);
        ASSERT_EQ(result.exit_code, exit_code) << line << "\n" << result.err;
    }

    /// Three steps of two samples.
    static std::string training(const char* job, const std::string& run, const char* data = "tokens") {
        return fmt::format(
            "{} --data @{} --tokens 96 --seq-len 16 --global-batch 2 --lr 1e-2 --dtype f32 --out @{}", job,
            data, run);
    }

    std::map<std::string, Values> content(const std::string& name) const {
        io::TensorFileReader reader(world->path(name), MPI_COMM_SELF, "");
        Context ctx({});
        std::map<std::string, Values> out;
        for (const auto& spec : reader.tensors()) {
            Tensor tensor = ctx.empty(spec.shape, spec.dtype);
            reader.read(spec.name, whole(spec.shape), tensor);
            out[spec.name] = values_of(tensor);
        }
        return out;
    }
    /// The values of `key` in a file of a JSON object a line.
    Values values(const std::string& file, const char* key) const {
        Values out;
        std::istringstream lines(world->read(file));
        for (std::string line; std::getline(lines, line);) out.push_back(json::parse(line).at(key));
        return out;
    }
    json summary() const { return json::parse(world->read("summary.json")); }
    /// By the CPU.
    double loss_of(const std::string& model) const {
        on_cpu("evaluate --data @few --dtype f32 --summary @summary.json --model @" + model);
        return summary().at("loss");
    }
    /// The losses of all steps, and that of the model at the end.
    void expect_same_run(const std::string& got, const std::string& expected) const {
        EXPECT_TRUE(near_all(values(got + "/metrics.jsonl", "loss"),
                             values(expected + "/metrics.jsonl", "loss"), rounding));
        EXPECT_TRUE(near_all({loss_of(got + "/model.h5")}, {loss_of(expected + "/model.h5")}, rounding));
    }

    std::optional<TinyWorld> world;
    const Tolerance rounding = tolerance(Device::cuda, DType::f32).times(chain);
};

TEST_P(OnDevice, ImportanceIsThatOfTheProcessor) {
    for (const std::string model : {"model.h5", "nemotron.h5"}) {
        const std::string line =
            "importance --data @tokens --samples 4 --micro-batch 2 --seq-len 16 --dtype f32 --depth "
            "bi,ppl --depth-block 2 --head-dims --force --model @" +
            model + " --out @";
        on_cpu(line + "cpu.h5");

        on_device(line + "cuda.h5");

        const auto got = content("cuda.h5"), expected = content("cpu.h5");
        EXPECT_EQ(got.size(), expected.size());
        for (const auto& [name, values] : expected)
            EXPECT_TRUE(near_all(got.at(name), values, rounding)) << name << " of " << model;
    }
}

TEST_P(OnDevice, EvaluationIsThatOfTheProcessor) {
    for (const std::string model : {"model.h5", "nemotron.h5"}) {
        for (const DType dtype : {DType::f32, DType::bf16}) {
            const std::string line = "evaluate --data @few --seq-len 32 --summary @summary.json --model @" +
                                     model + " --dtype " + std::string(to_string(dtype));
            on_cpu(line);
            const double expected = summary().at("loss");

            on_device(line);

            EXPECT_EQ(summary().at("device"), "cuda");
            EXPECT_TRUE(near_all({summary().at("loss").get<double>()}, {expected},
                                 tolerance(Device::cuda, dtype).times(dtype == DType::f32 ? chain : 1)))
                << model;
        }
    }
}

TEST_P(OnDevice, DistillationFollowsTheProcessorThroughAStopAndItsCheckpoint) {
    const std::string options =
        " --teacher @model.h5 --student @nemotron.h5 --loss kl=1,ce=1 --temperature 2";
    on_cpu(training("distill", "cpu") + options);

    on_device(training("distill", "cuda") + options + " --exit-after-steps 1", 3);
    on_device(training("distill", "cuda") + options);

    expect_same_run("cuda", "cpu");
}

TEST_P(OnDevice, AModelThatNormsItsHeadsLearnsAsOnTheProcessor) {
    world->write(
        "qwen3.json",
        R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 97, "hidden_size": 20, "intermediate_size": 30,
        "num_hidden_layers": 4, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64})");
    on_cpu("init --arch @qwen3.json --out @qwen3.h5 --seed 5");
    const std::string options = " --teacher @model.h5 --student @qwen3.h5";
    on_cpu(training("distill", "cpu") + options);

    on_device(training("distill", "cuda") + options);

    expect_same_run("cuda", "cpu");
}

TEST_P(OnDevice, TheTeachersBestTokensAreThoseOfTheProcessor) {
    const std::string options = " --teacher @nemotron.h5 --student @model.h5 --top-k 8";
    on_cpu(training("distill", "cpu") + options);

    on_device(training("distill", "cuda") + options);

    expect_same_run("cuda", "cpu");
}

TEST_P(OnDevice, HiddenStatesAreFollowedAsOnTheProcessor) {
    const std::string options = " --teacher @nemotron.h5 --student @model.h5 --hidden-map 1:1,mlp:2:3";
    on_cpu(training("distill", "cpu") + options);

    on_device(training("distill", "cuda") + options);

    expect_same_run("cuda", "cpu");
}

TEST_P(OnDevice, DocumentsAreKeptApartAsOnTheProcessor) {
    const std::string options =
        " --teacher @nemotron.h5 --student @model.h5 --hidden-map 1:1,mlp:2:3 --loss kl=1,ce=1 "
        "--reset-attention --mask-eod --eod 7";  // one token of 27
    on_cpu(training("distill", "cpu", "few") + options);

    on_device(training("distill", "cuda", "few") + options);

    expect_same_run("cuda", "cpu");
}

const auto name_of = [](const auto& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(, OnDevice, testing::Values(serial, two_tensor_parts, two_stages, two_replicas),
                         name_of);

class OnTwoStages : public OnDevice {};

TEST_P(OnTwoStages, TheTeachersPlaceDoesNotShow) {
    const std::string options = " --teacher @nemotron.h5 --student @model.h5";
    on_cpu(training("distill", "cpu") + options);
    on_device(
        "teacher-cache --teacher @nemotron.h5 --data @tokens --samples 6 --seq-len 16 --dtype f32 --out "
        "@cache");

    on_device(training("distill", "grid") + options + " --teacher-tp 2 --teacher-pp 1");
    on_device(training("distill", "virtual") + options + " --virtual-stages 2 --recompute full");
    on_device(training("distill", "cached") + " --student @model.h5 --teacher-cache @cache");

    expect_same_run("grid", "cpu");
    expect_same_run("virtual", "cpu");
    // A cache rounds log-probabilities to steps of 1/2048.
    EXPECT_TRUE(near_all(values("cached/metrics.jsonl", "loss"), values("cpu/metrics.jsonl", "loss"),
                         {0, 0, 0x1p-11}));
}

INSTANTIATE_TEST_SUITE_P(, OnTwoStages, testing::Values(two_stages), name_of);

class OnThreeReplicas : public OnDevice {};

// A step has two samples: one replica has none, and sums both models' gradients with the others all the same.
TEST_P(OnThreeReplicas, ATeacherIsCorrectedAsOnTheProcessor) {
    const std::string options =
        " --teacher @nemotron.h5 --student @model.h5 --correct-teacher --teacher-lr 1e-2";
    on_cpu(training("distill", "cpu") + options);

    on_device(training("distill", "cuda") + options);

    expect_same_run("cuda", "cpu");
    EXPECT_TRUE(near_all(values("cuda/metrics.jsonl", "teacher_loss"),
                         values("cpu/metrics.jsonl", "teacher_loss"), rounding));
    EXPECT_TRUE(near_all({loss_of("cuda/teacher.h5")}, {loss_of("cpu/teacher.h5")}, rounding));
}

INSTANTIATE_TEST_SUITE_P(, OnThreeReplicas, testing::Values(three_replicas), name_of);

class OnDevicesOfANode : public OnDevice {
protected:
    /// Of a rank's device, or of its share of one.
    static double device_memory() {
        const size_t bytes = test_device() == Device::cuda ? device::facts(0).memory : size_t{4} << 30;
        return static_cast<double>(bytes) / (shares_device() ? GetParam().ranks : 1);
    }
};

TEST_P(OnDevicesOfANode, CalibrationDescribesThem) {
    const auto result = run(std::string("plan --calibrate --out @here.json --device cuda") +
                                (shares_device() ? " --share-device" : ""),
                            GetParam().ranks);
    ASSERT_EQ(result.exit_code, 0) << result.err;

    const json here = json::parse(world->read("here.json"));
    EXPECT_EQ(here.at("gpus_per_node"), GetParam().ranks);
    const double memory = here.at("memory_bytes"), reserved = here.at("reserved_bytes"),
                 attention = here.at("attention_efficiency"), launch = here.at("launch_seconds");
    EXPECT_NEAR(memory, device_memory(), 0.02 * memory);
    EXPECT_GE(reserved, 0);
    EXPECT_LT(reserved, memory / 2);
    EXPECT_GT(attention, 0);
    EXPECT_LE(attention, 1);
    EXPECT_GT(launch, 0);
    for (const char* key : {"f32", "bf16"}) EXPECT_GT(here.at("peak_flops").at(key), 1e5) << key;
    EXPECT_GT(here.at("memory_bandwidth"), 1e6);
    EXPECT_GT(here.at("node").at("bandwidth"), 1e5);
    const auto planned =
        run("plan --arch @nemotron.json --system @here.json --gpus 2 --global-batch 4 --seq-len 16");
    EXPECT_EQ(planned.exit_code, 0) << planned.err;
}

INSTANTIATE_TEST_SUITE_P(, OnDevicesOfANode, testing::Values(serial, two_replicas), name_of);

class OneReplica : public OnDevice {};

TEST_P(OneReplica, TrainingFollowsTheProcessor) {
    const std::string options = " --model @model.h5 --valid @few";
    on_cpu(training("train", "cpu") + options);

    on_device(training("train", "cuda") + options);

    expect_same_run("cuda", "cpu");
}

TEST_P(OneReplica, ScoresAreThoseOfTheProcessor) {
    world->write("in.jsonl", R"({"context": [1, 2, 3], "continuation": [4, 5]})"
                             "\n"
                             R"({"context": [9], "continuation": [8]})"
                             "\n");
    const std::string line = "score --model @nemotron.h5 --requests @in.jsonl --dtype f32 --out @";
    on_cpu(line + "cpu.jsonl");

    on_device(line + "cuda.jsonl");

    EXPECT_TRUE(
        near_all(values("cuda.jsonl", "loglikelihood"), values("cpu.jsonl", "loglikelihood"), rounding));
}

TEST_P(OneReplica, GeneratesWhatTheProcessorGenerates) {
    json arch = json::parse(world->read("arch.json"));
    arch["vocab_size"] = 266;
    world->write("speaking.json", arch.dump());
    world->write("tokenizer.json", small_tokenizer().dump());
    on_cpu("init --arch @speaking.json --out @speaking.h5");
    for (const std::string temperature : {"0", "1"}) {
        const std::string line =
            "generate --model @speaking.h5 --tokenizer @tokenizer.json --prompt then --max-tokens 6 "
            "--dtype f32 --summary @summary.json --temperature " +
            temperature;
        on_cpu(line);
        const json expected = summary().at("generated");

        on_device(line);

        EXPECT_EQ(summary().at("generated"), expected);
    }
}

INSTANTIATE_TEST_SUITE_P(, OneReplica, testing::Values(serial, two_tensor_parts), name_of);

}  // namespace
}  // namespace espalier::test
