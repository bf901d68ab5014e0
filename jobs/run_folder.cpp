#include "jobs/run_folder.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <span>
#include <thread>

#include "io/journal.hpp"
#include "io/positioned.hpp"
#include "io/publish.hpp"
#include "jobs/checkpoint.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;

/// Whether a start of a run has written into the folder.
bool is_run(const std::string& folder) {
    if (fs::exists(folder + "/facts.json")) return true;
    std::string first;
    std::ifstream(folder + "/config.ini") >> first;
    return first == "[distill]" || first == "[train]";
}

/// Whether there is nothing but a request to stop, or what a start leaves that is killed as it writes its
/// first file.
bool is_unused(const std::string& folder) {
    return std::all_of(fs::directory_iterator(folder), fs::directory_iterator(), [](const auto& entry) {
        const fs::path name = entry.path().filename();
        return name == "stop" || name == "lock" || name == "config.ini.partial";
    });
}

/// A killed process lets go of its files after its memory, which may be large: the start that follows it
/// gives it a moment.
std::optional<io::Descriptor> lock_soon(const std::string& path) {
    constexpr std::chrono::seconds moment(3);
    const auto end = std::chrono::steady_clock::now() + moment;
    while (true) {
        auto lock = io::try_lock(path);
        if (lock || std::chrono::steady_clock::now() > end) return lock;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

std::string this_process() {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    return fmt::format("process {} on {}", getpid(), host);
}

}  // namespace

void check_run_folder(const Session& session, const std::string& folder, bool resumes) {
    if (!fs::exists(folder)) return io::check_output(folder, false);
    ESPALIER_REQUIRE(fs::is_directory(folder), "{}: exists and is no folder", folder);
    ESPALIER_REQUIRE(is_run(folder) || is_unused(folder),
                     "{}: holds files that are no run's; choose another --out, or an empty folder", folder);
    if (session.common().force) return;
    const auto has = [&](const char* name) { return fs::exists(folder + "/" + name); };
    ESPALIER_REQUIRE(
        !has("model.h5"),
        "{}: this run is finished (model.h5 is there); choose another --out, or --force to start over",
        folder);
    ESPALIER_REQUIRE(resumes || !(has("checkpoints") || has("metrics.jsonl")),
                     "{}: holds a run already; --resume auto goes on with it, --force starts over", folder);
}

RunLock::RunLock(const Session& session, const std::string& folder)
    : session_(session), folder_(folder), path_(folder + "/lock") {
    if (fs::exists(path_)) take();
}

void RunLock::take() {
    if (!session_.root() || held_) return;
    auto lock = lock_soon(path_);
    ESPALIER_REQUIRE(
        lock,
        "{}: another run is at work in it ({}); wait for its end, or choose another --out. Where "
        "that process is gone for certain, remove {}",
        folder_, io::read_file(path_), path_);
    if (!io::has_locks(*lock))
        session_.log().warning(
            "{}: the file system has no locks; nothing would keep a second run of this folder from starting",
            folder_);
    // Through the descriptor that has the lock: closing another one of the file would end it.
    const std::string holder = this_process();
    ESPALIER_REQUIRE(ftruncate(lock->get(), 0) == 0, "cannot write {}", path_);
    io::write_at(lock->get(), 0, std::as_bytes(std::span(holder)), path_);
    held_.emplace(std::move(*lock));
}

void open_run_folder(const Session& session, const std::string& folder, RunLock& lock, bool over) {
    if (session.root()) {
        io::make_folder(folder);
        lock.take();
        for (const char* name : {"model.h5", "teacher.h5", "metrics.jsonl", "checkpoints", "latest"}) {
            if (over) fs::remove_all(folder + "/" + name);
        }
        fs::remove(folder + "/stop");  // of the stop that this start ends
        remove_unfinished_checkpoints(folder);
        io::write_file(folder + "/config.ini", config_text(session.job(), session.options()));
    }
    session.world().barrier();
}

}  // namespace espalier::jobs
