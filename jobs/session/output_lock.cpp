#include "jobs/session/output_lock.hpp"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <span>
#include <thread>

#include "io/collective.hpp"
#include "io/journal.hpp"
#include "io/positioned.hpp"
#include "io/publish.hpp"
#include "io/system_error.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

std::optional<io::Descriptor> lock_soon(const std::string& path) {
    constexpr std::chrono::seconds moment(3);
    const auto end = std::chrono::steady_clock::now() + moment;
    while (true) {
        auto lock = io::try_lock(path);
        if (lock || std::chrono::steady_clock::now() > end) return lock;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

/// The file may be gone by now.
std::string holder_of(const std::string& path) {
    std::string holder;
    std::ifstream file(path);
    std::getline(file, holder);
    return holder.empty() ? "unknown" : holder;
}

std::string this_process() {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    return fmt::format("process {} on {}", getpid(), host);
}

}  // namespace

io::Descriptor take_lock(const std::string& path, const std::string& trouble) {
    auto lock = lock_soon(path);
    ESPALIER_REQUIRE(lock,
                     "{} ({}); wait for its end, or choose another --out. Where that process is gone for "
                     "certain, remove {}",
                     trouble, holder_of(path), path);
    return std::move(*lock);
}

void sign_lock(const Session& session, const io::Descriptor& held, const std::string& path,
               const std::string& output) {
    if (!io::has_locks(held))
        session.log().warning(
            "{}: the file system has no locks; nothing would keep a second job from writing it too", output);
    // Through the descriptor that has the lock: closing another one of the file would end it.
    const std::string holder = this_process();
    if (ftruncate(held.get(), 0) != 0) io::fail_of_system("cannot write " + path, errno);
    io::write_at(held.get(), 0, std::as_bytes(std::span(holder)), path);
}

OutputLock::OutputLock(const Session& session, std::string path) {
    path = io::without_slash(path);
    io::on_root(session.world().handle(), [&] {
        io::check_place(path);
        const std::string lock = path + ".partial.lock";
        held_.emplace(take_lock(lock, path + ": another job is writing it"));
        file_.emplace(lock);
        sign_lock(session, *held_, lock, path);
        return std::string();
    });
}

}  // namespace espalier::jobs
