// What may happen to the program from outside, at a moment that a test chooses: for LD_PRELOAD.
//   ESPALIER_SIGNAL_AT=NAME   SIGUSR1 as it first opens a file whose path ends so
//   ESPALIER_SIGNALS_FROM=NAME   SIGUSR1 from there on, ten thousand times a second
//   ESPALIER_INTERRUPT_AT=NAME   SIGINT there, after which it goes no further
//   ESPALIER_MAKE_AT=NAME   an empty file $ESPALIER_MAKE appears as it first opens one whose path ends so
//   ESPALIER_NO_LOCKS=1       a file system without fcntl's locks
//   ESPALIER_LOST=NAME        a file server out of reach when a file whose path ends so is opened
//   ESPALIER_CLOSED=NAME      no permission to open a file whose path ends so
//   ESPALIER_BAD_DISK=NAME    an input/output error where more than a page is read of a file whose path ends
//   so
// and what the program does about it:
//   ESPALIER_SYNCED=FILE      gets the paths that it brings to the disk, a line each
#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

namespace {

/// Whether a path ends with what a variable says, where it says anything.
bool is_named(std::string_view path, const char* variable) {
    const char* name = std::getenv(variable);
    return name && path.ends_with(name);
}

/// To the process, as from outside, until somebody has taken it.
void send(int signal) {
    kill(getpid(), signal);
    sigset_t pending;
    do {
        sched_yield();
        sigpending(&pending);
    } while (sigismember(&pending, signal) == 1);
}

void send_for_ever(int signal) {
    std::thread([signal] {
        while (true) {
            kill(getpid(), signal);
            usleep(100);
        }
    }).detach();
}

std::string path_of(int file) {
    std::array<char, 4096> path;
    const std::string link = "/proc/self/fd/" + std::to_string(file);
    const ssize_t length = readlink(link.c_str(), path.data(), path.size());
    return {path.data(), length > 0 ? static_cast<size_t>(length) : 0};
}

}  // namespace

// The program's own calls may be of either name; both take a mode or pointer that is passed on unseen.
extern "C" {

int open(const char* path, int flags, ...) {
    static const auto real = reinterpret_cast<int (*)(const char*, int, ...)>(dlsym(RTLD_NEXT, "open"));
    static const char* wanted = std::getenv("ESPALIER_SIGNAL_AT");
    if (wanted && std::string_view(path).ends_with(wanted)) {
        wanted = nullptr;
        send(SIGUSR1);
    }
    static bool sends = false;
    if (!sends && is_named(path, "ESPALIER_SIGNALS_FROM")) {
        sends = true;
        send_for_ever(SIGUSR1);
    }
    static bool made = false;
    if (!made && is_named(path, "ESPALIER_MAKE_AT")) {
        made = true;
        close(real(std::getenv("ESPALIER_MAKE"), O_WRONLY | O_CREAT, 0666));
    }
    if (is_named(path, "ESPALIER_INTERRUPT_AT")) {
        send(SIGINT);
        while (true) pause();
    }
    if (is_named(path, "ESPALIER_CLOSED")) {
        errno = EACCES;
        return -1;
    }
    if (is_named(path, "ESPALIER_LOST")) {
        errno = ESTALE;
        return -1;
    }
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return real(path, flags, mode);
}

// HDF5 reads a page of such a small file at most: its metadata is there, and tensors are not.
ssize_t pread(int file, void* out, size_t size, off_t offset) {
    static const auto real =
        reinterpret_cast<ssize_t (*)(int, void*, size_t, off_t)>(dlsym(RTLD_NEXT, "pread"));
    if (size > 4096 && is_named(path_of(file), "ESPALIER_BAD_DISK")) {
        errno = EIO;
        return -1;
    }
    return real(file, out, size, offset);
}

int fsync(int file) {
    static const auto real = reinterpret_cast<int (*)(int)>(dlsym(RTLD_NEXT, "fsync"));
    if (const char* log = std::getenv("ESPALIER_SYNCED"))
        std::ofstream(log, std::ios::app) << path_of(file) << '\n';
    return real(file);
}

int fcntl(int file, int command, ...) {
    static const auto real = reinterpret_cast<int (*)(int, int, ...)>(dlsym(RTLD_NEXT, "fcntl"));
    const bool locks = command == F_SETLK || command == F_SETLKW || command == F_GETLK;
    if (locks && std::getenv("ESPALIER_NO_LOCKS")) {
        errno = ENOLCK;
        return -1;
    }
    va_list rest;
    va_start(rest, command);
    void* argument = va_arg(rest, void*);
    va_end(rest);
    return real(file, command, argument);
}

}  // extern "C"
