#include "io/mapped_tensors.hpp"

#include <cstring>

#include "src/core/exact.hpp"

namespace espalier::io {

void MappedTensors::add(std::string name, Shape shape, const Encoding& encoding, size_t begin) {
    tensors_.push_back({std::move(name), std::move(shape), std::string(encoding.name), encoding.dtype,
                        encoding.decode != nullptr});
    places_.push_back({&encoding, begin});
}

void MappedTensors::read_rows(size_t index, int64_t first, int64_t count, std::span<std::byte> out) const {
    const auto& [name, shape, type, dtype, readable] = tensors_.at(index);
    const auto& [encoding, begin] = places_[index];
    ESPALIER_REQUIRE(readable, "{}: tensor '{}' has type {}, which cannot be read; {}", file_->path(), name,
                     type, advice_);
    const int64_t row = row_elements(shape);
    const auto row_bytes = static_cast<size_t>(row) * size_of(dtype);
    if (first < 0 || count < 0 || count > row_count(shape) - first ||
        out.size() != static_cast<size_t>(count) * row_bytes) {
        throw InternalError(fmt::format("{}: rows [{}, {} + {}) of {} into {} bytes", name, first, first,
                                        count, to_string(shape), out.size()));
    }

    const int64_t block = encoding->block;
    const int64_t first_block = first * row / block,
                  blocks = div_ceil((first + count) * row, block) - first_block;
    const size_t from = begin + static_cast<size_t>(first_block * encoding->block_bytes);
    if (first * row % block == 0 && count * row % block == 0) {
        decode_blocks(*file_, from, *encoding, blocks, out);
        return;
    }
    // Only a quantised vector gets here: its rows are single elements, shorter than a block.
    std::vector<std::byte> whole_blocks(static_cast<size_t>(blocks * block) * size_of(dtype));
    decode_blocks(*file_, from, *encoding, blocks, whole_blocks);
    const auto skipped = static_cast<size_t>(first * row - first_block * block) * size_of(dtype);
    std::memcpy(out.data(), whole_blocks.data() + skipped, out.size());
}

}  // namespace espalier::io
