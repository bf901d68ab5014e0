// What can go wrong, told apart by whose fault it is: the user's world, the machine's, or our own code.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace espalier {

/// The user's input, files or machine are at fault. The message says what is wrong, why, and what to do;
/// `main` prints it and exits with code 2.
class UserError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The machine failed in a way that the next start may not meet (a disk's read error, a file server out of
/// reach); exit code 1.
class MachineError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A bug of ours, or a library that failed without the user's doing; exit code 1.
class InternalError : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
    throw UserError(fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace espalier

/// Always on: throws UserError with the formatted message when `condition` is false.
#define ESPALIER_REQUIRE(condition, ...)   \
    do {                                   \
        if (!(condition)) [[unlikely]]     \
            ::espalier::fail(__VA_ARGS__); \
    } while (false)

/// Debug builds: throws InternalError naming the expression and the place. Costs nothing in release builds.
#ifdef ESPALIER_DEBUG
#define ESPALIER_ASSERT(condition)                                        \
    do {                                                                  \
        if (!(condition)) [[unlikely]]                                    \
            ::espalier::assertion_failed(#condition, __FILE__, __LINE__); \
    } while (false)
#else
#define ESPALIER_ASSERT(condition) static_cast<void>(0)
#endif
