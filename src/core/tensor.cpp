#include "src/core/tensor.hpp"

#include <fmt/ranges.h>

namespace espalier {

int64_t element_count(const Shape& shape) {
    int64_t count = 1;
    for (const int64_t n : shape) count *= n;
    return count;
}

int64_t row_elements(const Shape& shape) {
    int64_t count = 1;
    for (size_t axis = 1; axis < shape.size(); ++axis) count *= shape[axis];
    return count;
}

std::string to_string(const Shape& shape) {
    return fmt::format("[{}]", fmt::join(shape, ", "));
}

Tensor Tensor::view(Shape shape) const {
    if (element_count(shape) != size()) {
        throw InternalError(fmt::format("cannot view {} as {}", to_string(shape_), to_string(shape)));
    }
    return Tensor(memory_, std::move(shape), dtype_, device_);
}

Tensor Tensor::slice(int64_t begin, Shape shape) const {
    if (begin < 0 || begin + element_count(shape) > size()) {
        throw InternalError(
            fmt::format("slice {} at {} leaves {}", to_string(shape), begin, to_string(shape_)));
    }
    auto start = std::shared_ptr<std::byte>(memory_, at(begin));
    return Tensor(std::move(start), std::move(shape), dtype_, device_);
}

Tensor Tensor::rows(int64_t begin, int64_t count) const {
    Shape shape = shape_;
    shape.at(0) = count;
    const int64_t row = shape_[0] == 0 ? 0 : size() / shape_[0];
    return slice(begin * row, std::move(shape));
}

void expect_shape(const Tensor& tensor, const Shape& shape, const char* what) {
    if (tensor.shape() != shape) {
        throw InternalError(
            fmt::format("{}: shape {}, expected {}", what, to_string(tensor.shape()), to_string(shape)));
    }
}

void expect_dtype(const Tensor& tensor, DType dtype, const char* what) {
    if (tensor.dtype() != dtype) {
        throw InternalError(
            fmt::format("{}: {}, expected {}", what, to_string(tensor.dtype()), to_string(dtype)));
    }
}

}  // namespace espalier
