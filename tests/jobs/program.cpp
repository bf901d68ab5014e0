#include "tests/jobs/program.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "io/indexed_dataset.hpp"
#include "src/core/random.hpp"

namespace espalier::test {
namespace fs = std::filesystem;

ProcessResult espalier(const std::vector<std::string>& arguments, int ranks,
                       std::vector<std::string> environment) {
    std::vector<std::string> command;
    if (ranks > 1)
        command = {"mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
                   "-n",     std::to_string(ranks)};
    const char* elsewhere = std::getenv("ESPALIER_TEST_PROGRAM");
    command.emplace_back(elsewhere ? elsewhere : ESPALIER_PROGRAM);
    command.insert(command.end(), arguments.begin(), arguments.end());
    // MPI itself leaks, which is not what these tests ask about.
    environment.insert(environment.end(), {"OMP_NUM_THREADS=1", "ASAN_OPTIONS=detect_leaks=0"});
    return run_process(command, environment);
}

TinyWorld::TinyWorld() {
    write(
        "arch.json",
        R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 97, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 4,
        "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-5})");
    const auto expect_done = [](const ProcessResult& r) {
        if (r.exit_code != 0) throw std::runtime_error(r.err);
    };
    expect_done(espalier({"init", "--arch", path("arch.json"), "--out", path("model.h5"), "--quiet"}));
    io::IndexedDatasetWriter tokens(path("tokens"), 97, io::Existing::keep);
    for (uint64_t document = 0; document < 20; ++document) {
        std::vector<int32_t> ids;
        for (uint64_t i = 0; i < 40 + document; ++i)
            ids.push_back(static_cast<int32_t>(mix64(1000 * document + i) % 97));
        tokens.add(ids);
    }
    tokens.finish();
    expect_done(espalier({"importance", "--model", path("model.h5"), "--data", path("tokens"), "--samples",
                          "8", "--seq-len", "16", "--out", path("scores.h5"), "--dtype", "f32", "--device",
                          "cpu", "--quiet"}));
}

bool TinyWorld::exists(const std::string& name) const {
    return fs::exists(path(name));
}

std::string TinyWorld::read(const std::string& name) const {
    std::ifstream in(path(name), std::ios::binary);
    if (!in) throw std::runtime_error("there is no " + path(name));
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
}

void TinyWorld::write(const std::string& name, const std::string& content) const {
    std::ofstream(path(name), std::ios::binary) << content;
}

std::vector<std::string> TinyWorld::names() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(folder_.path()))
        out.push_back(entry.path().filename().string());
    std::sort(out.begin(), out.end());
    return out;
}

std::vector<std::string> TinyWorld::tree() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path()))
        out.push_back(entry.path().lexically_relative(folder_.path()).string());
    std::sort(out.begin(), out.end());
    return out;
}

std::vector<std::string> distill_arguments(const TinyWorld& world, const std::string& out,
                                           const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"distill",
                                       "--teacher",
                                       world.path("model.h5"),
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
                                       "--micro-batch",
                                       "2",
                                       "--lr",
                                       "1e-2",
                                       "--loss",
                                       "kl=1,ce=1",
                                       "--dtype",
                                       "f32",
                                       "--quiet"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

void set_option(std::vector<std::string>& arguments, const std::string& option, const std::string& value) {
    const auto found = std::find(arguments.begin(), arguments.end(), option);
    if (found == arguments.end()) throw std::invalid_argument("no " + option + " among the arguments");
    *(found + 1) = value;
}

}  // namespace espalier::test
