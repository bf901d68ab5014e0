// A file that is not as it was written, told apart from one that the system does not let us read.
#pragma once

#include <utility>

#include "src/core/error.hpp"

namespace espalier::io {

/// What is in a file was cut short, changed, or never one of ours. Where reading failed for the system's
/// reasons nothing is known of what is in it: that is a plain UserError, which names the reason.
class DamagedFile : public UserError {
public:
    using UserError::UserError;
};

template <class... Args>
[[noreturn]] void fail_damaged(fmt::format_string<Args...> format, Args&&... args) {
    throw DamagedFile(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace espalier::io
