// The types a tensor can hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "src/core/bfloat16.hpp"

namespace espalier {

enum class DType { f32, bf16, i32, f64, u8 };

size_t size_of(DType dtype);
std::string_view to_string(DType dtype);
/// "f32", "bf16", ...; nothing for an unknown name.
std::optional<DType> dtype_from_string(std::string_view name);

template <class T>
struct dtype_of;
template <>
struct dtype_of<float> {
    static constexpr DType value = DType::f32;
};
template <>
struct dtype_of<bfloat16> {
    static constexpr DType value = DType::bf16;
};
template <>
struct dtype_of<int32_t> {
    static constexpr DType value = DType::i32;
};
template <>
struct dtype_of<double> {
    static constexpr DType value = DType::f64;
};
template <>
struct dtype_of<uint8_t> {
    static constexpr DType value = DType::u8;
};

}  // namespace espalier
