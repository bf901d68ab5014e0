#include "jobs/training/checkpoint_folder.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "io/publish.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;

/// step-N.h5, and nothing that a user put beside them.
bool is_checkpoint(std::string_view name) {
    constexpr std::string_view begin = "step-", end = ".h5";
    if (!name.starts_with(begin) || !name.ends_with(end) || name.size() <= begin.size() + end.size())
        return false;
    const auto step = name.substr(begin.size(), name.size() - begin.size() - end.size());
    return step.find_first_not_of("0123456789") == std::string_view::npos;
}

std::vector<std::string> names_in(const std::string& rundir) {
    std::vector<std::string> names;
    if (!fs::exists(checkpoints_folder(rundir))) return names;
    for (const auto& entry : fs::directory_iterator(checkpoints_folder(rundir))) {
        const std::string name = entry.path().filename().string();
        if (is_checkpoint(name)) names.push_back(name);
    }
    return names;
}

std::vector<FoundCheckpoint> by_step(const std::string& rundir, const std::vector<std::string>& names) {
    std::vector<FoundCheckpoint> out;
    for (const auto& name : names)
        out.push_back({std::atoll(name.c_str() + 5), checkpoints_folder(rundir) + "/" + name});
    std::sort(out.begin(), out.end(), [](const auto& x, const auto& y) { return x.step > y.step; });
    return out;
}

}  // namespace

std::string checkpoints_folder(const std::string& rundir) {
    return rundir + "/checkpoints";
}

std::vector<FoundCheckpoint> list_checkpoints(const std::string& rundir) {
    return by_step(rundir, names_in(rundir));
}

std::vector<FoundCheckpoint> list_checkpoints(const Session& session, const std::string& rundir) {
    std::string list;
    if (session.root()) {
        for (const auto& name : names_in(rundir)) list += name + "\n";
    }
    list = session.world().broadcast(list);
    std::vector<std::string> names;
    for (size_t at = 0; at < list.size(); at = list.find('\n', at) + 1)
        names.push_back(list.substr(at, list.find('\n', at) - at));
    return by_step(rundir, names);
}

std::string latest_checkpoint(const Session& session, const std::string& rundir) {
    std::string name;
    if (session.root() && fs::exists(rundir + "/latest")) name = io::read_file(rundir + "/latest");
    name = session.world().broadcast(name);
    return name.substr(0, name.find('\n'));
}

void write_latest(const std::string& rundir, const std::string& name) {
    io::write_file(rundir + "/latest", name + "\n");
}

void remove_unfinished_checkpoints(const std::string& rundir) {
    if (!fs::exists(checkpoints_folder(rundir))) return;
    for (const auto& entry : fs::directory_iterator(checkpoints_folder(rundir))) {
        if (entry.path().extension() == ".partial") fs::remove(entry.path());
    }
}

}  // namespace espalier::jobs
