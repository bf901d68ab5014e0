// A dense row-major array: shape, dtype, and a share in the memory that holds it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/core/dtype.hpp"
#include "src/core/error.hpp"

namespace espalier {

enum class Device { cpu, cuda };

using Shape = std::vector<int64_t>;
int64_t element_count(const Shape& shape);
/// Elements of one row: the product of all axes but the first, 1 where there are none.
int64_t row_elements(const Shape& shape);
std::string to_string(const Shape& shape);

/// A handle: copies share the elements, as do views. An empty Tensor (default) has no memory and no shape.
/// Memory comes from Context::empty; a Tensor outlives the Context only if its elements are not touched.
class Tensor {
public:
    Tensor() = default;
    Tensor(std::shared_ptr<std::byte> memory, Shape shape, DType dtype, Device device = Device::cpu)
        : memory_(std::move(memory)), shape_(std::move(shape)), dtype_(dtype), device_(device) {}

    explicit operator bool() const { return memory_ != nullptr; }
    const Shape& shape() const { return shape_; }
    int64_t dim(size_t axis) const { return shape_.at(axis); }
    size_t rank() const { return shape_.size(); }
    int64_t size() const { return element_count(shape_); }
    int64_t row_elements() const { return espalier::row_elements(shape_); }
    size_t bytes() const { return static_cast<size_t>(size()) * size_of(dtype_); }
    DType dtype() const { return dtype_; }
    Device device() const { return device_; }

    /// The shape as exactly N numbers: `const auto [rows, n] = x.dims<2>();`
    template <size_t N>
    std::array<int64_t, N> dims() const {
        if (shape_.size() != N)
            throw InternalError(fmt::format("expected {} axes, got {}", N, to_string(shape_)));
        std::array<int64_t, N> out{};
        std::copy(shape_.begin(), shape_.end(), out.begin());
        return out;
    }

    /// The elements; T must be the tensor's dtype.
    template <class T>
    T* data() const {
        if (dtype_of<T>::value != dtype_ && memory_) {
            throw InternalError(fmt::format("tensor holds {}, asked for {}", to_string(dtype_),
                                            to_string(dtype_of<T>::value)));
        }
        return reinterpret_cast<T*>(memory_.get());
    }
    std::byte* raw() const { return memory_.get(); }
    /// Element i of the flattened tensor, or its end.
    std::byte* at(int64_t i) const { return raw() + i * static_cast<int64_t>(size_of(dtype_)); }
    template <class T>
    std::span<T> span() const {
        return {data<T>(), static_cast<size_t>(size())};
    }

    /// The same elements under another shape of the same size.
    Tensor view(Shape shape) const;
    /// Elements begin .. begin + element_count(shape) of the flattened tensor.
    Tensor slice(int64_t begin, Shape shape) const;
    /// Rows [begin, begin + count) of the first axis.
    Tensor rows(int64_t begin, int64_t count) const;

private:
    std::shared_ptr<std::byte> memory_;
    Shape shape_;
    DType dtype_ = DType::f32;
    Device device_ = Device::cpu;
};

/// Throws InternalError naming `what` unless the tensor has exactly this shape.
void expect_shape(const Tensor& tensor, const Shape& shape, const char* what);
/// Throws InternalError naming `what` unless the tensor has this dtype.
void expect_dtype(const Tensor& tensor, DType dtype, const char* what);

/// Calls f with a value of the tensor's element type: f32 or bf16, nothing else.
template <class F>
void visit_float(DType dtype, F&& f) {
    switch (dtype) {
        case DType::f32:
            return f(float{});
        case DType::bf16:
            return f(bfloat16{});
        default:
            throw InternalError("expected an f32 or bf16 tensor");
    }
}

}  // namespace espalier
