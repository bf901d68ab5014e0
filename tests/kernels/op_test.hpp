// What the op tests share: parameters from the tables, and gradients by finite differences.
#pragma once

#include <gtest/gtest.h>

#include <tuple>

#include "tests/kernels/cases.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/device.hpp"

namespace espalier::test {

/// "smollm2_bf16" for the parameters (case, dtype), "smollm2" for a case alone.
template <class Case>
std::string name_of(const Case& c) {
    return c.name;
}
template <class Case>
std::string name_of(const std::tuple<Case, DType>& parameter) {
    return fmt::format("{}_{}", std::get<0>(parameter).name, to_string(std::get<1>(parameter)));
}
inline constexpr auto parameter_name = [](const auto& info) { return name_of(info.param); };

/// Cases up to the size that the double reference does in a moment, and those small enough to differentiate.
template <class Cases>
auto up_to(int64_t size, const Cases& cases) {
    std::vector<typename Cases::value_type> out;
    for (const auto& c : cases) {
        if (c.size() <= size) out.push_back(c);
    }
    return out;
}

/// Gradient of the scalar function f at x, by central differences.
template <class F>
Values numeric_gradient(const F& f, Values x) {
    constexpr double step = 1e-5;
    Values out;
    for (double& element : x) {
        const double centre = element;
        element = centre + step;
        const double above = f(x);
        element = centre - step;
        const double below = f(x);
        element = centre;
        out.push_back((above - below) / (2 * step));
    }
    return out;
}

/// Of numeric_gradient: truncation is step^2 = 1e-10, rounding 2^-53 / step = 1e-11, each times the
/// function's size or third derivative: 1e-8 leaves two digits for those, on gradients of size 1.
constexpr Tolerance numeric_tolerance{1e-8, 0, 1e-8};

inline double inner_product(const Values& a, const Values& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

inline Values sum_of(Values a, const Values& b) {
    for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
    return a;
}

}  // namespace espalier::test
