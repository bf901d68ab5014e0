// What may happen to the program from outside, at a moment that a test chooses: for LD_PRELOAD.
//   ESPALIER_SIGNAL_AT=NAME   SIGUSR1 as it first opens a file whose path ends so
//   ESPALIER_NO_LOCKS=1       a file system without fcntl's locks
#include <dlfcn.h>
#include <fcntl.h>

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <string_view>

// The program's own calls may be of either name; both take a mode or pointer that is passed on unseen.
extern "C" {

int open(const char* path, int flags, ...) {
    static const auto real = reinterpret_cast<int (*)(const char*, int, ...)>(dlsym(RTLD_NEXT, "open"));
    static const char* wanted = std::getenv("ESPALIER_SIGNAL_AT");
    if (wanted && std::string_view(path).ends_with(wanted)) {
        wanted = nullptr;
        std::raise(SIGUSR1);
    }
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return real(path, flags, mode);
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
