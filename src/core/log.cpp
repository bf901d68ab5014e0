#include "src/core/log.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "src/core/names.hpp"

namespace espalier {
namespace {

spdlog::level::level_enum spdlog_level(LogLevel level) {
    switch (level) {
        case LogLevel::debug:
            return spdlog::level::debug;
        case LogLevel::info:
            return spdlog::level::info;
        case LogLevel::warning:
            return spdlog::level::warn;
        case LogLevel::error:
            return spdlog::level::err;
    }
    throw InternalError("unknown log level");
}

constexpr std::array level_names{Named{LogLevel::debug, "debug"}, Named{LogLevel::info, "info"},
                                 Named{LogLevel::warning, "warning"}, Named{LogLevel::error, "error"}};

/// Results pass every level but Quiet's.
constexpr auto result_level = spdlog::level::critical;

/// A % of the text itself is none of spdlog's flags.
std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) out += c == '%' ? "%%" : std::string(1, c);
    return out;
}

/// What messages quote of files may be anything: control characters would steer the terminal, lines of others
/// would look like ours, whose second and further ones are indented, and megabytes would hide the rest.
std::string legible(std::string_view message) {
    constexpr size_t most_bytes = 4000;
    size_t end = std::min(message.size(), most_bytes);
    while (end > 0 && end < message.size() && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80)
        --end;  // not within a character
    std::string out;
    for (size_t i = 0; i < end; ++i) {
        const char c = message[i];
        const bool ours = c == '\n' && message.substr(i + 1, 2) == "  ";
        const auto code = static_cast<unsigned char>(c);
        if (code == 0xC2 && i + 1 < end && static_cast<unsigned char>(message[i + 1]) < 0xA0) {
            // U+0080 to U+009F, of which terminals take some for commands too.
            out += fmt::format("\\xc2\\x{:02x}", static_cast<unsigned char>(message[++i]));
        } else if (ours || (code >= ' ' && code != 0x7f)) {
            out += c;
        } else {
            out += c == '\n' ? "\\n" : fmt::format("\\x{:02x}", code);
        }
    }
    if (end < message.size()) out += fmt::format(" ... and {} bytes more", message.size() - end);
    return out;
}

}  // namespace

LogLevel log_level_from_string(const std::string& text) {
    return chosen(level_names, text, "--log-level");
}

// Not in spdlog's registry, which is global. One rank is one thread as far as messages go.
Log::Log(const LogOptions& options)
    : out_(std::make_shared<spdlog::logger>("out", std::make_shared<spdlog::sinks::stdout_sink_st>())),
      err_(std::make_shared<spdlog::logger>("err", std::make_shared<spdlog::sinks::stderr_color_sink_st>())),
      root_(options.rank == 0) {
    const bool quiet = options.quiet == Quiet::yes;
    out_->set_pattern("%v");
    out_->set_level(quiet || options.rank != 0 ? spdlog::level::off : spdlog_level(options.level));
    const std::string rank = options.rank == 0 ? "" : fmt::format(" [rank {}]", options.rank);
    err_->set_pattern("%^" + escaped(options.program) + rank + ":%$ %v");
    err_->set_level(quiet ? std::max(spdlog::level::warn, spdlog_level(options.level))
                          : spdlog_level(options.level));
    for (const auto& logger : {out_, err_}) logger->flush_on(spdlog::level::trace);
}

void Log::write_result(std::string_view line) const {
    out_->log(result_level, line);
}

void Log::write(LogLevel level, std::string_view line) const {
    switch (level) {
        case LogLevel::info:
            return out_->log(spdlog::level::info, line);
        case LogLevel::warning:
            if (root_) err_->log(spdlog::level::warn, fmt::format("warning: {}", legible(line)));
            return;
        default:
            return err_->log(spdlog_level(level), legible(line));
    }
}

}  // namespace espalier
