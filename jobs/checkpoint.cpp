#include "jobs/checkpoint.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <filesystem>

#include "io/publish.hpp"
#include "kernels/elementwise.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;

struct Found {
    int64_t step;
    std::string path;
};

std::string folder_of(const std::string& rundir) {
    return rundir + "/checkpoints";
}

/// Checkpoints by step, newest first; rank 0's view counts. Files beside the marked ones may be half written
/// and have another ending.
std::vector<Found> find_checkpoints(const Session& session, const std::string& rundir) {
    std::string list;
    if (session.root() && fs::exists(folder_of(rundir))) {
        for (const auto& entry : fs::directory_iterator(folder_of(rundir))) {
            const std::string name = entry.path().filename().string();
            if (name.starts_with("step-") && name.ends_with(".h5")) list += name + "\n";
        }
    }
    list = session.world().broadcast(list);
    std::vector<Found> out;
    for (size_t at = 0; at < list.size(); at = list.find('\n', at) + 1) {
        const std::string name = list.substr(at, list.find('\n', at) - at);
        out.push_back({std::atoll(name.c_str() + 5), folder_of(rundir) + "/" + name});
    }
    std::sort(out.begin(), out.end(), [](const Found& x, const Found& y) { return x.step > y.step; });
    return out;
}

constexpr std::array groups{"parameters/", "first_moment/", "second_moment/"};

/// This replica's share of what belongs to a group.
Tensor state_of(train::Optimizer& optimizer, size_t group) {
    return group == 0 ? optimizer.master() : group == 1 ? optimizer.first() : optimizer.second();
}

std::vector<io::TensorSpec> specs(const std::vector<Trained>& trained) {
    std::vector<io::TensorSpec> out;
    for (const auto& t : trained) {
        for (const char* group : groups) {
            const auto part =
                parameter_specs(t.all, t.prefix + group, [](const model::Parameter&) { return DType::f32; });
            out.insert(out.end(), part.begin(), part.end());
        }
    }
    return out;
}

/// Differences between two configurations, by key, as a message shows them.
std::string differences(const nlohmann::ordered_json& then, const nlohmann::ordered_json& now) {
    std::string out;
    for (const auto& [key, value] : now.items()) {
        if (!then.contains(key) || then[key] != value)
            out += fmt::format("\n  --{}: {} then, {} now", key,
                               then.contains(key) ? then[key].dump() : "unset", value.dump());
    }
    return out;
}

}  // namespace

/// A checkpoint on its way to the disk, in a thread that only writes: what ranks do together, and with a
/// device, is done by the main thread.
struct Checkpoints::Writing {
    Writing(io::TensorFileWriter w, std::string n) : writer(std::move(w)), name(std::move(n)) {}
    io::TensorFileWriter writer;
    std::string name;
    PendingRead copied;  // the last of the state's
    double writing_seconds = 0, waiting_seconds = 0;
    std::atomic<bool> done = false;
    std::exception_ptr failure;
    std::thread thread;

    ~Writing() {
        if (thread.joinable()) thread.join();
    }
};

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
      keep_(keep) {}

Checkpoints::~Checkpoints() = default;

bool Checkpoints::written() {
    if (!writing_) return true;
    if (!writing_->thread.joinable() && writing_->copied.done()) write_copies();
    return writing_->done;
}

int64_t Checkpoints::copy_bytes() const {
    int64_t bytes = 0;
    for (const auto& t : trained_) {
        for (size_t group = 0; group < groups.size(); ++group)
            bytes += static_cast<int64_t>(state_of(*t.optimizer, group).bytes());
    }
    return bytes;
}

void Checkpoints::begin(const RunState& state) {
    finish();
    const double start = session_.seconds();
    const std::string name = fmt::format("step-{}.h5", state.step);
    if (session_.root()) fs::create_directories(folder_of(rundir_));
    session_.world().barrier();
    writing_ =
        std::make_unique<Writing>(io::TensorFileWriter(folder_of(rundir_) + "/" + name,
                                                       session_.world().handle(), specs(trained_), true),
                                  name);
    auto& writer = writing_->writer;
    writer.attribute("format", checkpoint_format);
    writer.attribute("format_version", int64_t{1});
    writer.attribute("architecture", model::to_json(architecture_).dump());
    writer.attribute("configuration", configuration_.dump());
    writer.attribute("step", state.step);
    writer.attribute("skipped_steps", state.skipped);

    size_t next = 0;
    for (const auto& t : trained_) {
        for (size_t group = 0; group < groups.size(); ++group, ++next) {
            const Tensor state_now = state_of(*t.optimizer, group);
            Context& ctx = session_.context();
            if (copies_.size() == next) copies_.push_back(ctx.empty_on_host(state_now.shape(), DType::f32));
            if (ctx.on_gpu()) {
                writing_->copied = ctx.begin_read(state_now, copies_[next]);
            } else {
                convert(ctx, state_now, copies_[next]);  // by all threads
            }
        }
    }
    writing_->waiting_seconds = session_.seconds() - start;
    if (!session_.context().on_gpu()) write_copies();
}

void Checkpoints::write_copies() {
    writing_->thread = std::thread([this, &writing = *writing_] {
        const double begin = session_.seconds();
        try {
            size_t at = 0;
            for (const auto& t : trained_) {
                for (const char* group : groups) {
                    write_share(writing.writer, t.prefix + group, *t.weights,
                                {copies_[at++], t.optimizer->shards().mine()});
                }
            }
            writing.writer.sync();
        } catch (...) {
            writing.failure = std::current_exception();
        }
        writing.writing_seconds = session_.seconds() - begin;
        writing.done = true;
    });
}

void Checkpoints::finish() {
    if (!writing_) return;
    const double start = session_.seconds();
    if (!writing_->thread.joinable()) {
        writing_->copied.wait();
        write_copies();
    }
    writing_->thread.join();
    if (writing_->failure) std::rethrow_exception(writing_->failure);
    writing_->writer.publish();
    if (session_.root()) io::write_file(rundir_ + "/latest", "checkpoints/" + writing_->name + "\n");
    const auto ended = std::move(writing_);
    const auto all = find_checkpoints(session_, rundir_);
    if (session_.root()) {
        for (size_t i = static_cast<size_t>(keep_); i < all.size(); ++i) fs::remove(all[i].path);
    }
    double bytes = 0;
    for (const auto& spec : specs(trained_)) bytes += static_cast<double>(spec.size() * 4);
    const double waiting = ended->waiting_seconds + session_.seconds() - start;
    times_ = {times_.count + 1, times_.bytes + bytes, times_.writing_seconds + ended->writing_seconds,
              times_.waiting_seconds + waiting};
    if (session_.root())
        session_.log().debug("{}: {:.3f} GB in {:.2f} s, for {:.2f} s of which training waited", ended->name,
                             bytes * 1e-9, ended->writing_seconds, waiting);
}

std::optional<RunState> Checkpoints::read() {
    const auto all = find_checkpoints(session_, rundir_);
    for (const auto& found : all) {
        std::string damage;
        const auto state = read(found.path, damage);
        if (damage.empty()) return state;
        if (session_.root()) session_.log().warning("{}\n  going on from the checkpoint before it", damage);
    }
    ESPALIER_REQUIRE(
        all.empty(),
        "{}: no checkpoint of this run is whole; start over with --resume never --force, or bring one back",
        folder_of(rundir_));
    return std::nullopt;
}

/// The state of one file, or what is wrong with it.
std::optional<RunState> Checkpoints::read(const std::string& path, std::string& damage) {
    nlohmann::ordered_json then;
    RunState state;
    try {
        io::TensorFileReader reader(path, session_.world().handle(), checkpoint_format);
        then = nlohmann::ordered_json::parse(reader.text("configuration"));
        state = {static_cast<int64_t>(reader.number("step")),
                 static_cast<int64_t>(reader.number("skipped_steps"))};
        for (const auto& t : trained_) {
            if (then != configuration_) break;
            for (size_t group = 0; group < groups.size(); ++group) {
                read_share(session_.context(), reader, t.prefix + groups[group], *t.weights,
                           {state_of(*t.optimizer, group), t.optimizer->shards().mine()});
            }
            t.optimizer->publish_master(session_.context());
        }
    } catch (const UserError& e) {
        damage = e.what();
        return std::nullopt;
    }
    ESPALIER_REQUIRE(then == configuration_,
                     "{}: this run was started with other options, so its checkpoint cannot go on:{}\n  "
                     "start with the same options, or choose another --out",
                     path, differences(then, configuration_));
    return state;
}

void write_trained(Session& session, const std::string& path, const ModelFile& from,
                   const model::Transformer& model, train::Optimizer& optimizer,
                   const nlohmann::ordered_json& history) {
    const auto stored = [&](const model::Parameter& p) { return from.stored_dtype(p); };
    std::vector<DType> dtypes;
    for (const auto& p : model::parameters(model.architecture())) dtypes.push_back(stored(p));
    ModelWriter writer(path, session.world().handle(), model.architecture(), dtypes, true);
    write_share(writer.writer(), "parameters/", model.parameters(),
                {optimizer.master(), optimizer.shards().mine()}, &session.context(), stored);
    writer.copy_tokenizer(from);
    writer.publish(history);
}

void remove_unfinished_checkpoints(const std::string& rundir) {
    if (!fs::exists(folder_of(rundir))) return;
    for (const auto& entry : fs::directory_iterator(folder_of(rundir))) {
        if (entry.path().extension() == ".partial") fs::remove(entry.path());
    }
}

}  // namespace espalier::jobs
