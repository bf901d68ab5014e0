// The one place through which messages to people go.
#pragma once

#include <fmt/core.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace spdlog {
class logger;
}

namespace espalier {

/// Messages below this level are dropped.
enum class LogLevel { debug, info, warning, error };

/// "debug", "info", "warning", "error"; anything else throws UserError.
LogLevel log_level_from_string(const std::string& text);

enum class Quiet { no, yes };

struct LogOptions {
    std::string program;  ///< what lines on standard error begin with: "espalier distill"
    int rank = 0;
    LogLevel level = LogLevel::info;
    Quiet quiet = Quiet::no;
};

/// A rank's logger; copies share what they write to. Every line is flushed when it is written. Colours appear
/// only where standard error is a terminal.
///
///            where            who         as
///   result   standard output  rank 0      the line itself, whatever the level
///   info     standard output  rank 0      the line itself
///   warning  standard error   rank 0      "espalier distill: warning: ..."
///   debug    standard error   every rank  "espalier distill [rank 3]: ..." (rank 0 without a number)
///   error    standard error   every rank  "espalier distill [rank 3]: ..."
///
/// On standard error control characters are shown as \x1b, line breaks as \n unless two spaces follow, and no
/// more than 4000 bytes. What is to be warned of is known to rank 0, or to all. Quiet::yes leaves warnings
/// and errors.
class Log {
public:
    explicit Log(const LogOptions& options);

    template <class... Arguments>
    void result(fmt::format_string<Arguments...> format, Arguments&&... arguments) const {
        write_result(fmt::format(format, std::forward<Arguments>(arguments)...));
    }
    template <class... Arguments>
    void info(fmt::format_string<Arguments...> format, Arguments&&... arguments) const {
        write(LogLevel::info, fmt::format(format, std::forward<Arguments>(arguments)...));
    }
    template <class... Arguments>
    void debug(fmt::format_string<Arguments...> format, Arguments&&... arguments) const {
        write(LogLevel::debug, fmt::format(format, std::forward<Arguments>(arguments)...));
    }
    template <class... Arguments>
    void warning(fmt::format_string<Arguments...> format, Arguments&&... arguments) const {
        write(LogLevel::warning, fmt::format(format, std::forward<Arguments>(arguments)...));
    }
    template <class... Arguments>
    void error(fmt::format_string<Arguments...> format, Arguments&&... arguments) const {
        write(LogLevel::error, fmt::format(format, std::forward<Arguments>(arguments)...));
    }

private:
    void write_result(std::string_view line) const;
    void write(LogLevel level, std::string_view line) const;

    std::shared_ptr<spdlog::logger> out_, err_;
    bool root_;
};

}  // namespace espalier
