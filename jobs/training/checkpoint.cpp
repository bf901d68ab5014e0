#include "jobs/training/checkpoint.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <filesystem>
#include <map>
#include <utility>

#include "io/damage.hpp"
#include "io/publish.hpp"
#include "jobs/training/checkpoint_folder.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;

constexpr std::array groups{"parameters/", "first_moment/", "second_moment/"};
// Of the state: what training waits for at most when it catches up with the writing.
constexpr int64_t piece_bytes = int64_t{8} << 20;

/// This replica's share of what belongs to a group.
Tensor state_of(train::Optimizer& optimizer, size_t group) {
    return group == 0   ? optimizer.master()
           : group == 1 ? optimizer.first_moment()
                        : optimizer.second_moment();
}

std::vector<io::TensorSpec> specs(const std::vector<Trained>& trained) {
    std::vector<io::TensorSpec> out;
    for (const auto& t : trained) {
        for (const char* group : groups) {
            for (auto& spec : parameter_specs(t.all, t.prefix + group,
                                              [](const model::Parameter&) { return DType::f32; })) {
                spec.axes.clear();  // training waits while the file is made
                out.push_back(std::move(spec));
            }
        }
    }
    return out;
}

/// What a configuration knows by a hash, which says nothing to people.
const std::map<std::string, std::string> known_by_hash{
    {"data", "--data or what decides its samples: the first of them are others now"},
    {"student_sha256", "the model in training: another one now"},
    {"teacher_sha256", "the teacher: another one now"}};

constexpr const char* left_alone =
    "\n  it may be whole and is left as it is: start again once it can be read, or move it away to go on "
    "from "
    "the checkpoint before it";

/// Differences between two configurations, by key, as a message shows them.
std::string differences(const nlohmann::ordered_json& then, const nlohmann::ordered_json& now) {
    const auto shown = [](const nlohmann::ordered_json& of, const std::string& key) {
        return of.contains(key) ? of[key].dump() : "unset";
    };
    auto keys = now;
    keys.update(then);
    std::string out;
    for (const auto& [key, value] : keys.items()) {
        if (shown(then, key) == shown(now, key)) continue;
        const auto hashed = known_by_hash.find(key);
        out += hashed == known_by_hash.end()
                   ? fmt::format("\n  --{}: {} then, {} now", key, shown(then, key), shown(now, key))
                   : "\n  " + hashed->second;
    }
    return out;
}

}  // namespace

/// A checkpoint on its way to the disk, in threads that only write: what ranks do together, and with a
/// device, is done by the main thread, which uses no HDF5 while rank 0's does.
struct Checkpoints::Writing {
    Writing(io::TensorFileWriter w, std::string n) : writer(std::move(w)), name(std::move(n)) {}
    io::TensorFileWriter writer;
    std::string name;
    double writing_seconds = 0, waiting_seconds = 0;
    std::function<void()> before_writing;
    std::atomic<bool> done = false;  ///< the thread, with what it was started for
    bool started = false, gathered = false;
    std::exception_ptr failure;
    std::string trouble;                  ///< that ends no run
    std::atomic<bool> abandoned = false;  ///< an exception unwinds the run: nobody wants the rest
    std::thread thread;

    ~Writing() {
        abandoned = true;
        if (thread.joinable()) thread.join();
    }
};

nlohmann::ordered_json to_json(const CheckpointTimes& times) {
    return {{"count", times.count},
            {"bytes", static_cast<int64_t>(times.bytes)},
            {"writing_seconds", times.writing_seconds},
            {"waiting_seconds", times.waiting_seconds},
            {"first_waiting_seconds", times.first_waiting_seconds},
            {"copied_bytes", times.copied_bytes}};
}

Trained trained(std::string prefix, const model::Transformer& model, train::Optimizer& optimizer) {
    return {std::move(prefix), model::parameters(model.architecture()), &model.parameters(), &optimizer};
}

Checkpoints::Checkpoints(Session& session, std::string rundir, const model::Architecture& architecture,
                         std::vector<Trained> trained, nlohmann::ordered_json configuration, int64_t keep)
    : session_(session),
      rundir_(std::move(rundir)),
      architecture_(architecture),
      trained_(std::move(trained)),
      configuration_(std::move(configuration)),
      keep_(keep),
      snapshot_(pieces(trained_, places_)) {}

Checkpoints::~Checkpoints() = default;

bool Checkpoints::written() {
    if (!writing_) return true;
    if (snapshot_.ready()) start_writing();
    return writing_->done;
}

std::vector<Tensor> Checkpoints::pieces(const std::vector<Trained>& trained, std::vector<Place>& places) {
    std::vector<Tensor> out;
    for (const auto& t : trained) {
        for (size_t group = 0; group < groups.size(); ++group) {
            const FlatShare share{state_of(*t.optimizer, group), t.optimizer->shards().mine()};
            for (auto& [parameter, box, values] : pieces_of(*t.weights, share, piece_bytes)) {
                places.push_back({t.prefix + groups[group] + parameter->name, std::move(box)});
                out.push_back(std::move(values));
            }
        }
    }
    return out;
}

void Checkpoints::begin(const RunState& state, std::function<void()> before_writing) {
    finish();
    const double start = session_.seconds();
    const std::string name = fmt::format("step-{}.h5", state.step);
    if (session_.root()) io::make_folder(checkpoints_folder(rundir_));
    session_.world().barrier();
    writing_ = std::make_unique<Writing>(
        io::TensorFileWriter(checkpoints_folder(rundir_) + "/" + name, session_.world().handle(),
                             specs(trained_), io::Existing::replace, io::Through::device),
        name);
    auto& writer = writing_->writer;
    writer.attribute("format", checkpoint_format);
    writer.attribute("format_version", int64_t{1});
    writer.attribute("architecture", model::to_json(architecture_).dump());
    writer.attribute("configuration", configuration_.dump());
    writer.attribute("step", state.step);
    writer.attribute("skipped_steps", state.skipped);
    writer.attribute("skipped_in_a_row", state.skipped_in_a_row);

    snapshot_.take(session_.context());
    writing_->waiting_seconds = session_.seconds() - start;
    writing_->before_writing = std::move(before_writing);
    if (snapshot_.ready()) start_writing();
}

void Checkpoints::start_writing() {
    if (std::exchange(writing_->started, true)) return;
    writing_->thread = std::thread([this, &writing = *writing_] { write(writing); });
}

void Checkpoints::write(Writing& writing) {
    const double begin = session_.seconds();
    try {
        if (writing.before_writing) writing.before_writing();
        snapshot_.read([&](size_t piece, const Tensor& values) {
            if (writing.abandoned) throw InternalError("the checkpoint was abandoned");
            writing.writer.write(places_[piece].dataset, places_[piece].box, values);
        });
        writing.writer.sync();
    } catch (...) {
        writing.failure = std::current_exception();
    }
    writing.writing_seconds = session_.seconds() - begin;
    writing.done = true;
}

void Checkpoints::detach() {
    if (!writing_) return;
    const double start = session_.seconds();
    snapshot_.detach(session_.context());
    writing_->waiting_seconds += session_.seconds() - start;
}

void Checkpoints::advance() {
    const double start = session_.seconds();
    Writing& writing = *writing_;
    snapshot_.wait();
    start_writing();
    if (writing.thread.joinable()) writing.thread.join();
    if (writing.failure) std::rethrow_exception(writing.failure);
    const bool ends = writing.gathered;
    if (ends) {
        writing.writer.conclude();
        if (!writing.trouble.empty()) session_.log().warning("{}", writing.trouble);
    } else {
        writing.writer.gather();
        writing.gathered = true;
        if (session_.root()) {
            writing.done = false;
            writing.thread = std::thread([this, &writing] { seal(writing); });
        }
    }
    writing.waiting_seconds += session_.seconds() - start;
    if (ends) count(*std::exchange(writing_, nullptr));
}

void Checkpoints::finish() {
    while (writing_) advance();
}

/// What rank 0's thread does last. Removing a large file takes a file system a while.
void Checkpoints::seal(Writing& writing) {
    const double begin = session_.seconds();
    try {
        if (writing.writer.seal()) {
            write_latest(rundir_, "checkpoints/" + writing.name);
            writing.writing_seconds += session_.seconds() - begin;
            const auto all = list_checkpoints(rundir_);
            for (size_t i = static_cast<size_t>(keep_); i < all.size(); ++i) {
                std::error_code error;
                fs::remove(all[i].path, error);
                if (error) writing.trouble = fmt::format("{} stays: {}", all[i].path, error.message());
            }
        }
    } catch (...) {
        writing.failure = std::current_exception();
    }
    writing.done = true;
}

int64_t Checkpoints::bytes() const {
    int64_t out = 0;
    for (const auto& spec : specs(trained_)) out += spec.size() * 4;
    return out;
}

void Checkpoints::count(const Writing& ended) {
    const auto bytes = static_cast<double>(this->bytes());
    if (times_.count++ == 0) times_.first_waiting_seconds = ended.waiting_seconds;
    times_.bytes += bytes;
    times_.writing_seconds += ended.writing_seconds;
    times_.waiting_seconds += ended.waiting_seconds;
    times_.copied_bytes += snapshot_.copied_bytes();
    if (session_.root())
        session_.log().debug("{}: {:.3f} GB in {:.2f} s; training waited {:.3f} s, {:.3f} GB were copied",
                             ended.name, bytes * 1e-9, ended.writing_seconds, ended.waiting_seconds,
                             static_cast<double>(snapshot_.copied_bytes()) * 1e-9);
}

std::optional<RunState> Checkpoints::read() {
    const auto all = list_checkpoints(session_, rundir_);
    const std::string latest = latest_checkpoint(session_, rundir_);
    if (all.empty()) {
        // The run would begin anew over all that it has learned.
        ESPALIER_REQUIRE(latest.empty(),
                         "{0}: its file latest names {1}, and there is no checkpoint in {0}/checkpoints; "
                         "bring one back, or start over with --resume never --force",
                         rundir_, latest);
        return std::nullopt;
    }
    const bool there =
        latest.empty() || std::any_of(all.begin(), all.end(), [&](const FoundCheckpoint& found) {
            return found.path == rundir_ + "/" + latest;
        });
    if (!there) session_.log().warning("{}: its file latest names {}, which is not there", rundir_, latest);
    std::vector<std::string> passed_over;
    for (const auto& found : all) {
        std::string damage;
        const auto state = read(found.path, damage);
        if (damage.empty()) {
            if (session_.root()) {
                // They would count among those to keep, in place of whole ones.
                for (const auto& path : passed_over) fs::rename(path, path + ".damaged");
                const std::string name = found.path.substr(rundir_.size() + 1);
                if (name != latest) write_latest(rundir_, name);
            }
            return state;
        }
        passed_over.push_back(found.path);
        const bool last = passed_over.size() == all.size();
        session_.log().warning("{}{}", damage, last ? "" : "\n  going on from the checkpoint before it");
    }
    fail("{}: no checkpoint of this run is whole; start over with --resume never --force, or bring one back",
         checkpoints_folder(rundir_));
}

/// The state of one file, or how it is damaged.
std::optional<RunState> Checkpoints::read(const std::string& path, std::string& damage) {
    nlohmann::ordered_json then;
    RunState state;
    try {
        io::TensorFileReader reader(path, session_.world().handle(), checkpoint_format);
        then = nlohmann::ordered_json::parse(reader.text("configuration"));
        state = {reader.integer("step"), reader.integer("skipped_steps"),
                 reader.has_attribute("skipped_in_a_row") ? reader.integer("skipped_in_a_row") : 0};
        for (const auto& t : trained_) {
            if (then != configuration_) break;
            for (size_t group = 0; group < groups.size(); ++group) {
                read_share(session_.context(), reader, t.prefix + groups[group], *t.weights,
                           {state_of(*t.optimizer, group), t.optimizer->shards().mine()});
            }
            t.optimizer->publish_master(session_.context());
        }
    } catch (const io::DamagedFile& e) {
        damage = e.what();
        return std::nullopt;
    } catch (const MachineError& e) {
        throw MachineError(std::string(e.what()) + left_alone);
    } catch (const UserError& e) {
        throw UserError(std::string(e.what()) + left_alone);
    }
    ESPALIER_REQUIRE(then == configuration_,
                     "{}: this run was started with other options, so its checkpoint cannot go on:{}\n  "
                     "start with the same options, or choose another --out",
                     path, differences(then, configuration_));
    return state;
}

}  // namespace espalier::jobs
