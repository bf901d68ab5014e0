#include "io/system_error.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "src/core/error.hpp"

namespace espalier::io {

bool may_pass(int error) {
    constexpr std::array passing{EIO,     ESTALE,    ESHUTDOWN, ETIMEDOUT,    ENOTCONN,     ENODEV,
                                 ENXIO,   EREMOTEIO, EHOSTDOWN, EHOSTUNREACH, ENETDOWN,     ENETUNREACH,
                                 ENOLINK, ECOMM,     EPROTO,    ECONNRESET,   ECONNABORTED, EAGAIN};
    return std::find(passing.begin(), passing.end(), error) != passing.end();
}

void fail_of_system(const std::string& what, int error) {
    const std::string message = what + ": " + std::strerror(error);
    if (may_pass(error)) throw MachineError(message);
    throw UserError(message);
}

}  // namespace espalier::io
