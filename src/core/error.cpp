#include "src/core/error.hpp"

namespace espalier {

void assertion_failed(const char* expression, const char* file, int line) {
    throw InternalError(fmt::format("{}:{}: assertion failed: {}", file, line, expression));
}

}  // namespace espalier
