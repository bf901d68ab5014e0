#include "tests/support/tolerance.hpp"

#include <array>

namespace espalier::test {
namespace {

struct Row {
    Device device;
    DType dtype;
    Tolerance tolerance;
};

// f32 rounds by u = 2^-24. An element goes through a dozen roundings (16 u); a sum of n terms, kept in at
// least 8 partial sums, errs by about sqrt(n) u, with n up to 4096 here (64 u). A GPU's exp, rsqrt and tanh
// err by two more units in the last place. bf16 rounds by 2^-8 at most and 2^-9 as a rule: once for the
// result, and once for one intermediate of its size.
constexpr std::array rows{
    Row{Device::cpu, DType::f32, {0x1p-20, 0x1p-18}},  Row{Device::cpu, DType::bf16, {0x1p-8, 0x1p-10}},
    Row{Device::cuda, DType::f32, {0x1p-19, 0x1p-18}}, Row{Device::cuda, DType::bf16, {0x1p-8, 0x1p-10}},
    Row{Device::cpu, DType::f64, {0x1p-48, 0x1p-46}},  // u = 2^-53, by the same counts rounded up
};

// A product of cuBLASLt in bf16 may be rounded before the bias or what is there joins it: seen on Hopper
// where rows are no multiples of 16 bytes, or where there is one. That is 2^-8 of the result at most, and
// where the two cancel 2^-9 as a rule of a product that may be four times the results' scale.
constexpr Tolerance of_rounded_product{0x1p-8, 0x1p-7};

}  // namespace

Tolerance tolerance(Device device, DType dtype) {
    for (const auto& row : rows) {
        if (row.device == device && row.dtype == dtype) return row.tolerance;
    }
    throw InternalError("no tolerance for this device and dtype");
}

Tolerance tolerance_of_product(Device device, DType dtype) {
    Tolerance t = tolerance(device, dtype);
    if (device == Device::cuda && dtype == DType::bf16) {
        t.relative += of_rounded_product.relative;
        t.of_scale += of_rounded_product.of_scale;
    }
    return t;
}

}  // namespace espalier::test
