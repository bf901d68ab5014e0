#include "src/core/dtype.hpp"

#include <array>
#include <utility>

#include "src/core/error.hpp"

namespace espalier {
namespace {

struct Entry {
    DType dtype;
    std::string_view name;
    size_t size;
};
constexpr std::array entries{Entry{DType::f32, "f32", 4}, Entry{DType::bf16, "bf16", 2},
                             Entry{DType::i32, "i32", 4}, Entry{DType::f64, "f64", 8},
                             Entry{DType::u8, "u8", 1}};

const Entry& entry(DType dtype) {
    for (const auto& e : entries) {
        if (e.dtype == dtype) return e;
    }
    throw InternalError("unknown dtype");
}

}  // namespace

size_t size_of(DType dtype) {
    return entry(dtype).size;
}

std::string_view to_string(DType dtype) {
    return entry(dtype).name;
}

std::optional<DType> dtype_from_string(std::string_view name) {
    for (const auto& e : entries) {
        if (e.name == name) return e.dtype;
    }
    return std::nullopt;
}

}  // namespace espalier
