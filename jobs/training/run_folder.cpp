#include "jobs/training/run_folder.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "io/publish.hpp"
#include "jobs/job.hpp"
#include "jobs/session/output_lock.hpp"
#include "jobs/training/checkpoint_folder.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;

/// Whether a start of a run has written into the folder.
bool is_run(const std::string& folder) {
    if (fs::exists(folder + "/facts.json")) return true;
    std::string first;
    std::ifstream(folder + "/config.ini") >> first;
    const Job* const job = first.size() > 2 ? find_job(first.substr(1, first.size() - 2)) : nullptr;
    return job && job->trains();
}

/// Whether there is nothing but a request to stop, or what a start leaves that is killed as it writes its
/// first file.
bool is_unused(const std::string& folder) {
    return std::all_of(fs::directory_iterator(folder), fs::directory_iterator(), [](const auto& entry) {
        const fs::path name = entry.path().filename();
        return name == "stop" || name == "lock" || name == "config.ini.partial";
    });
}

/// What a start over an old run removes, in this order: where it is killed in between, what is left is the
/// old run or none.
constexpr std::array things_of_a_run{"latest", "checkpoints", "model.h5", "teacher.h5", "metrics.jsonl"};

/// --force is leave to remove a run, not what the new one reads.
void check_removed(const Session& session, const std::string& folder) {
    const auto inside = fs::weakly_canonical(folder);
    for_each_word(session.options(), [&](const std::string& key, const std::string& word) {
        std::error_code unknown;
        if (word.empty() || !fs::exists(word, unknown)) return;
        const auto relative = fs::weakly_canonical(word).lexically_relative(inside);
        ESPALIER_REQUIRE(
            relative.empty() || std::find(things_of_a_run.begin(), things_of_a_run.end(),
                                          *relative.begin()) == things_of_a_run.end(),
            "--{} {} is part of the run in --out {}, which --force removes; choose another --out", key, word,
            folder);
    });
}

/// A link to a folder elsewhere stays: the next checkpoints belong there, too.
void remove(const fs::path& thing) {
    if (!fs::is_symlink(thing) || !fs::is_directory(thing)) {
        fs::remove_all(thing);
        return;
    }
    for (const auto& entry : fs::directory_iterator(thing)) fs::remove_all(entry.path());
}

}  // namespace

RunLock::RunLock(const Session& session, const std::string& folder, OldRun old)
    : session_(session), folder_(folder), path_(folder + "/lock"), old_(old) {
    check_folder();
    if (fs::exists(path_)) take();
}

void RunLock::check_folder() const {
    if (!fs::exists(folder_)) return io::check_output(folder_, io::Existing::keep, io::Output::folder);
    ESPALIER_REQUIRE(fs::is_directory(folder_), "{}: exists and is not a folder", folder_);
    ESPALIER_REQUIRE(is_run(folder_) || is_unused(folder_),
                     "{}: holds files that are no run's; choose another --out, or an empty folder", folder_);
    if (session_.common().force) return check_removed(session_, folder_);
    const auto has = [&](const char* name) { return fs::exists(folder_ + "/" + name); };
    ESPALIER_REQUIRE(
        !has("model.h5"),
        "{}: this run is finished (model.h5 is there); choose another --out, or --force to start over",
        folder_);
    ESPALIER_REQUIRE(old_ == OldRun::goes_on || !(has("checkpoints") || has("metrics.jsonl")),
                     "{}: holds a run already; --resume auto goes on with it, --force starts over", folder_);
}

void RunLock::take() {
    if (!session_.root() || held_) return;
    held_.emplace(take_lock(path_, folder_ + ": another run is at work in it"));
    check_folder();
    sign_lock(session_, *held_, path_, folder_);
}

OldStop::OldStop(const Session& session, const std::string& folder) : path_(folder + "/stop") {
    std::error_code none;
    const auto when = fs::last_write_time(path_, none);
    if (!session.root() || none) return;
    when_ = when;
    session.log().info("{}: is of a stop before this start, and is removed; make it again to stop this run",
                       path_);
}

void OldStop::remove() const {
    std::error_code gone;
    if (when_ && fs::last_write_time(path_, gone) == *when_ && !gone) fs::remove(path_);
}

void open_run_folder(const Session& session, const std::string& folder, RunLock& lock, RunStart start,
                     std::optional<io::Temporary>& fresh) {
    if (session.root()) {
        const bool is_new = !fs::exists(folder);
        io::make_folder(folder);
        lock.take();
        if (is_new) fresh.emplace(folder, io::Inside::goes);  // not before it is ours
        for (const char* name : things_of_a_run) {
            if (start == RunStart::over) remove(folder + "/" + name);
        }
        for (const char* name : {"model.h5.partial", "teacher.h5.partial"}) fs::remove(folder + "/" + name);
        remove_unfinished_checkpoints(folder);
    }
    session.world().barrier();
}

void write_run_config(const Session& session, const std::string& folder) {
    if (session.root()) io::write_file(folder + "/config.ini", config_text(session.job(), session.options()));
}

}  // namespace espalier::jobs
