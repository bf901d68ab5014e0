// A block of a tensor: where it begins and how far it reaches on every axis.
#pragma once

#include <algorithm>

#include "src/core/exact.hpp"
#include "src/core/tensor.hpp"

namespace espalier {

struct Box {
    Shape offset;
    Shape count;

    int64_t size() const { return element_count(count); }
    bool operator==(const Box&) const = default;
};

/// The whole of a tensor of this shape.
inline Box whole(const Shape& shape) {
    return {Shape(shape.size(), 0), shape};
}

/// All of some rows.
inline Box rows_of(const Shape& shape, Range rows) {
    Box box = whole(shape);
    box.offset[0] = rows.begin;
    box.count[0] = rows.size();
    return box;
}

/// How many rows go through memory at a time: what bounds a rank that reads, converts or writes a tensor.
inline int64_t rows_in_block(int64_t bytes_of_row) {
    constexpr int64_t block_bytes = int64_t{64} << 20;
    return std::max<int64_t>(1, block_bytes / std::max<int64_t>(1, bytes_of_row));
}

/// Calls f(box) for one block of the rows `mine` after the other.
template <class F>
void for_each_row_block(const Shape& shape, Range mine, int64_t bytes_of_row, F f) {
    const int64_t step = rows_in_block(bytes_of_row);
    for (int64_t first = mine.begin; first < mine.end; first += step)
        f(rows_of(shape, {first, std::min(first + step, mine.end)}));
}

}  // namespace espalier
