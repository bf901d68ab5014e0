// The checksum of io/tensor_file.hpp, run by run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace espalier::io {

/// Of `count` elements of `element_size` bytes, the first of which has the flat index `first` in its tensor.
uint64_t checksum_of_run(const std::byte* data, size_t element_size, int64_t first, int64_t count);

}  // namespace espalier::io
