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

/// Bytes of the character that `text` begins with, one that a terminal shows and does nothing else for; 0
/// where there is none: controls (U+0000 to U+001F, U+007F to U+009F) and what is no UTF-8.
size_t shown_character(std::string_view text) {
    const auto first = static_cast<unsigned char>(text.front());
    if (first < 0x80) return first >= ' ' && first != 0x7f ? 1 : 0;
    const size_t bytes = first < 0xC2 || first > 0xF4 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (text.size() < bytes) return 0;
    for (size_t i = 1; i < bytes; ++i) {
        if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 0;
    }
    return first == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0 ? 0 : bytes;
}

/// What messages quote of files may be anything: control characters would steer the terminal, lines of others
/// would look like ours, whose second and further ones are indented, and megabytes would hide the rest.
std::string legible(std::string_view message) {
    constexpr size_t most_bytes = 4000;
    size_t end = std::min(message.size(), most_bytes);
    while (end > 0 && end < message.size() && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80)
        --end;  // not within a character
    std::string out;
    for (std::string_view left = message.substr(0, end); !left.empty();) {
        const bool ours = left.front() == '\n' && left.substr(1, 2) == "  ";
        const size_t shown = ours ? 1 : shown_character(left);
        if (shown > 0) {
            out += left.substr(0, shown);
        } else {
            out += left.front() == '\n' ? "\\n"
                                        : fmt::format("\\x{:02x}", static_cast<unsigned char>(left.front()));
        }
        left.remove_prefix(std::max<size_t>(shown, 1));
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
