#include "tests/faults/long_run.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/jobs/metrics.hpp"

namespace espalier::test {

namespace fs = std::filesystem;

LongRun::LongRun(const TinyWorld& world, std::string out, std::vector<std::string> layout)
    : world_(world), out_(std::move(out)), layout_(std::move(layout)) {
    layout_.insert(layout_.end(), {"--checkpoint-every", "1"});
}

std::vector<std::string> LongRun::command() const {
    std::vector<std::string> words{
        "mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "2", ESPALIER_PROGRAM};
    auto arguments = distill_arguments(world_, out_, layout_);
    set_option(arguments, "--tokens", "10240");
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
}

ProcessResult LongRun::go() const {
    return run_process(command(), {"OMP_NUM_THREADS=1"});
}

ProcessResult LongRun::go_signalled(const std::string& when, const std::string& signals,
                                    const std::string& rank) const {
    std::vector<std::string> words{SIGNAL_RANKS, when, signals, rank, world_.path(out_)};
    const auto inner = command();
    words.insert(words.end(), inner.begin(), inner.end());
    return run_process(words, {"OMP_NUM_THREADS=1"});
}

std::string LongRun::metrics() const {
    return world_.path(out_ + "/metrics.jsonl");
}

bool LongRun::finished() const {
    return world_.exists(out_ + "/model.h5");
}

bool LongRun::writes_checkpoint() const {
    const std::string folder = world_.path(out_ + "/checkpoints");
    if (!fs::exists(folder)) return false;
    return std::any_of(fs::directory_iterator(folder), {},
                       [](const auto& entry) { return entry.path().extension() == ".partial"; });
}

std::vector<double> LongRun::losses() const {
    return test::metrics(world_, out_, "loss");
}

std::string LongRun::model() const {
    const auto result = espalier({"inspect", world_.path(out_ + "/model.h5"), "--verify", "--json"});
    if (result.exit_code != 0) throw std::runtime_error(result.err);
    return nlohmann::json::parse(result.out).at("content_sha256");
}

}  // namespace espalier::test
