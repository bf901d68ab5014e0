#include "io/system_error.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "src/core/error.hpp"

namespace espalier::io {

void fail_of_system(const std::string& what, int error) {
    constexpr std::array passing{EIO,     ESTALE,    ESHUTDOWN, ETIMEDOUT,    ENOTCONN,     ENODEV,
                                 ENXIO,   EREMOTEIO, EHOSTDOWN, EHOSTUNREACH, ENETDOWN,     ENETUNREACH,
                                 ENOLINK, ECOMM,     EPROTO,    ECONNRESET,   ECONNABORTED, EAGAIN};
    const std::string message = what + ": " + std::strerror(error);
    if (std::find(passing.begin(), passing.end(), error) != passing.end()) throw MachineError(message);
    throw UserError(message);
}

}  // namespace espalier::io
