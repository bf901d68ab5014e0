#include "tests/support/process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <map>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <system_error>

namespace espalier::test {
namespace {

using File = std::unique_ptr<std::FILE, decltype([](std::FILE* file) { std::fclose(file); })>;

std::vector<char*> pointers(std::vector<std::string>& strings) {
    std::vector<char*> out;
    for (auto& s : strings) out.push_back(s.data());
    out.push_back(nullptr);
    return out;
}

/// Not where Open MPI is and how it starts ranks, which whoever started the tests says.
bool set_by_mpi(std::string_view variable) {
    constexpr std::array names{"OMPI_", "PMIX_", "PRTE_", "ORTE_", "OPAL_"};
    constexpr std::array kept{"OMPI_ALLOW_RUN_AS_ROOT",
                              "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
                              "OMPI_MCA_mca_base_component_path",
                              "PMIX_MCA_mca_base_component_path",
                              "PMIX_MCA_pcompress_base_silence_warning",
                              "OMPI_MCA_plm",
                              "OPAL_PKGDATADIR",
                              "OPAL_BINDIR"};
    const auto is = [name = variable.substr(0, variable.find('='))](std::string_view k) { return name == k; };
    const auto begins = [variable](std::string_view n) { return variable.starts_with(n); };
    return std::any_of(names.begin(), names.end(), begins) && std::none_of(kept.begin(), kept.end(), is);
}

/// Later pairs win.
std::vector<std::string> clean_environment(const std::vector<std::string>& extra) {
    std::map<std::string, std::string> pairs;
    const auto set = [&](const std::string& pair) { pairs[pair.substr(0, pair.find('='))] = pair; };
    for (char** variable = environ; *variable; ++variable) {
        if (!set_by_mpi(*variable)) set(*variable);
    }
    // Memory that the MPI library leaks must not fail the program; main.cpp looks for our own leaks.
    set("ASAN_OPTIONS=detect_leaks=0");
    for (const auto& pair : extra) set(pair);

    std::vector<std::string> out;
    for (const auto& [name, pair] : pairs) out.push_back(pair);
    return out;
}

std::string content(std::FILE* file) {
    std::string out;
    std::array<char, 4096> part;
    std::rewind(file);
    while (const size_t n = std::fread(part.data(), 1, part.size(), file)) out.append(part.data(), n);
    return out;
}

std::atomic<pid_t> running = 0;

}  // namespace

ProcessResult run_process(const std::vector<std::string>& command,
                          const std::vector<std::string>& environment) {
    auto arguments = command;
    auto variables = clean_environment(environment);
    const File out(std::tmpfile()), err(std::tmpfile());
    if (!out || !err) throw std::system_error(errno, std::generic_category(), "tmpfile");

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fileno(out.get()), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(err.get()), STDERR_FILENO);
    pid_t pid = 0;
    // A shell's job in the background ignores an interrupt, and hands that on.
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &interrupt);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    const int error = posix_spawnp(&pid, arguments.at(0).c_str(), &actions, &attributes,
                                   pointers(arguments).data(), pointers(variables).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::system_error(error, std::generic_category(), command.at(0));

    running = pid;
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "waitpid");
    }
    running = 0;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), content(out.get()),
            content(err.get())};
}

void end_running_process() {
    if (const pid_t pid = running; pid != 0) kill(pid, SIGTERM);
}

}  // namespace espalier::test
