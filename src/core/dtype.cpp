#include "src/core/dtype.hpp"

#include "src/core/names.hpp"

namespace espalier {
namespace {

struct Row {
    DType value;
    std::string_view name;
    size_t size;
};
constexpr std::array table{Row{DType::f32, "f32", 4}, Row{DType::bf16, "bf16", 2}, Row{DType::i32, "i32", 4},
                           Row{DType::f64, "f64", 8}, Row{DType::u8, "u8", 1}};

}  // namespace

size_t size_of(DType dtype) {
    return row_of(table, dtype).size;
}

std::string_view to_string(DType dtype) {
    return name_of(table, dtype);
}

std::optional<DType> dtype_from_string(std::string_view name) {
    return value_of(table, name);
}

}  // namespace espalier
