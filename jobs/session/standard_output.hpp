// What a user asked to read, on standard output.
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace espalier::jobs {

/// Whether it can be written shows in finish_printing().
void print_text(std::string_view text);
template <class... Args>
void print_out(fmt::format_string<Args...> format, Args&&... args) {
    print_text(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws UserError unless all that was printed is written: on a full disk it would be lost without a word.
void finish_printing();

}  // namespace espalier::jobs
