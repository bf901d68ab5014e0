#include "jobs/checkpoint.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "io/publish.hpp"
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

std::vector<io::TensorSpec> specs(const model::Architecture& a) {
    std::vector<io::TensorSpec> out;
    for (const char* group : {"parameters/", "first_moment/", "second_moment/"}) {
        const auto part = parameter_specs(a, group, [](const model::Parameter&) { return DType::f32; });
        out.insert(out.end(), part.begin(), part.end());
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

void write_checkpoint(Session& session, const std::string& rundir, int64_t step,
                      const model::Transformer& model, train::Optimizer& optimizer,
                      const nlohmann::ordered_json& configuration, int64_t keep) {
    const std::string name = fmt::format("step-{}.h5", step);
    if (session.root()) fs::create_directories(folder_of(rundir));
    session.world().barrier();
    io::TensorFileWriter writer(folder_of(rundir) + "/" + name, session.world().handle(),
                                specs(model.architecture()), true);
    writer.attribute("format", checkpoint_format);
    writer.attribute("format_version", int64_t{1});
    writer.attribute("architecture", model::to_json(model.architecture()).dump());
    writer.attribute("configuration", configuration.dump());
    writer.attribute("step", step);
    const auto f32 = [](const model::Parameter&) { return DType::f32; };
    write_parameters(session, writer, "parameters/", model.parameters(), optimizer.master(), f32);
    write_parameters(session, writer, "first_moment/", model.parameters(), optimizer.first(), f32);
    write_parameters(session, writer, "second_moment/", model.parameters(), optimizer.second(), f32);
    writer.publish();
    if (session.root()) {
        io::write_file(rundir + "/latest", "checkpoints/" + name + "\n");
    }
    const auto all = find_checkpoints(session, rundir);
    if (session.root()) {
        for (size_t i = static_cast<size_t>(keep); i < all.size(); ++i) fs::remove(all[i].path);
    }
}

std::optional<int64_t> read_checkpoint(Session& session, const std::string& rundir, model::Transformer& model,
                                       train::Optimizer& optimizer,
                                       const nlohmann::ordered_json& configuration) {
    const auto found_any = find_checkpoints(session, rundir);
    for (const auto& found : found_any) {
        nlohmann::ordered_json then;
        std::string damage;
        try {
            io::TensorFileReader reader(found.path, session.world().handle(), checkpoint_format);
            then = nlohmann::ordered_json::parse(reader.text("configuration"));
            if (then == configuration) {
                read_parameters(session, reader, "parameters/", model.parameters(), optimizer.master());
                read_parameters(session, reader, "first_moment/", model.parameters(), optimizer.first());
                read_parameters(session, reader, "second_moment/", model.parameters(), optimizer.second());
                optimizer.publish_master(session.context());
            }
        } catch (const UserError& e) {
            damage = e.what();
        }
        if (!damage.empty()) {  // of all ranks alike
            if (session.root()) session.log().warning("{}\n  going on from the checkpoint before it", damage);
            continue;
        }
        ESPALIER_REQUIRE(then == configuration,
                         "{}: this run was started with other options, so its checkpoint cannot go on:{}\n  "
                         "start with the same options, or choose another --out",
                         found.path, differences(then, configuration));
        return found.step;
    }
    ESPALIER_REQUIRE(
        found_any.empty(),
        "{}: no checkpoint of this run is whole; start over with --resume never --force, or bring one back",
        folder_of(rundir));
    return std::nullopt;
}

void remove_unfinished_checkpoints(const std::string& rundir) {
    if (!fs::exists(folder_of(rundir))) return;
    for (const auto& entry : fs::directory_iterator(folder_of(rundir))) {
        if (entry.path().extension() == ".partial") fs::remove(entry.path());
    }
}

}  // namespace espalier::jobs
