// A block of a tensor: where it begins and how far it reaches on every axis.
#pragma once

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

}  // namespace espalier
