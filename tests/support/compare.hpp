// Comparisons that name the worst element, and the way between tensors and vectors of double.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "src/core/context.hpp"
#include "tests/support/tolerance.hpp"

namespace espalier::test {

using Values = std::vector<double>;

/// Every element within the tolerance; sizes must agree; an infinity only equals itself; NaN on either side
/// fails. The message names the worst element.
testing::AssertionResult near_all(const Values& actual, const Values& expected, Tolerance tolerance);
testing::AssertionResult near_all(const Tensor& actual, const Values& expected, Tolerance tolerance);
/// The same with an allowed error for every element, where one scale for all would hide the small ones.
testing::AssertionResult near_each(const Values& actual, const Values& expected, const Values& allowed);

/// Same shape, dtype and bits.
testing::AssertionResult same_bits(const Tensor& actual, const Tensor& expected);

/// The elements of a tensor of any dtype and device, as double.
Values values_of(const Tensor& tensor);
/// A tensor of these values, rounded to dtype (f32, bf16, i32 or f64).
Tensor tensor_of(Context& ctx, const Values& values, Shape shape, DType dtype);
/// The values as they are after rounding to dtype: what a reference must be given.
Values rounded_to(DType dtype, Values values);

/// `count` normal values of this standard deviation, a function of the seed alone.
Values random_values(int64_t count, uint64_t seed, double deviation = 1.0);

}  // namespace espalier::test
