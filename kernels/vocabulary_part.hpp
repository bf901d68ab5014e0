// A rank's part of the vocabulary, whose logits it has.
#pragma once

#include <cstdint>

#include "kernels/host_device.hpp"

namespace espalier {

/// The column of a token among n that begin with the token first_id; -1 where it is not there, as nowhere for
/// id < 0.
ESPALIER_HOST_DEVICE int64_t column_of(int64_t id, int64_t first_id, int64_t n) {
    const int64_t column = id - first_id;
    return column >= 0 && column < n ? column : -1;
}

}  // namespace espalier
