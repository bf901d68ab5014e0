// Whether a destructor runs because of an exception.
#pragma once

#include <exception>

namespace espalier::comm {

/// A member of what ends otherwise while an exception unwinds: peers may then be elsewhere, and never come to
/// what its end would wait for. An object that lives and dies inside of a destructor that an exception called
/// ends as usual.
class Unwinding {
public:
    /// Whether an exception that was thrown in the lifetime of this is on its way.
    bool under_way() const { return std::uncaught_exceptions() > at_first_; }

private:
    const int at_first_ = std::uncaught_exceptions();
};

}  // namespace espalier::comm
