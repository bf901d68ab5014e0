// How far a result may lie from the reference: one table by device and dtype, derived from rounding.
#pragma once

#include "src/core/dtype.hpp"
#include "src/core/tensor.hpp"

namespace espalier::test {

/// An element passes when |actual - expected| <= relative |expected| + of_scale rms(expected) + absolute: for
/// roundings of the element itself, for sums whose terms cancel, and for results that are 0 by cancelling.
struct Tolerance {
    double relative = 0;
    double of_scale = 0;
    double absolute = 0;

    /// For a chain of about `roundings` such operations; say at the call why it is one.
    Tolerance times(double roundings) const {
        return {relative * roundings, of_scale * roundings, absolute * roundings};
    }
};

/// Of one operation whose inputs were rounded to `dtype` before the reference saw them.
Tolerance tolerance(Device device, DType dtype);
/// Of a matrix product, which a library of the device's maker may compute.
Tolerance tolerance_of_product(Device device, DType dtype);

/// Relative, of what a whole model gives in f32, whatever the layout and the device. A loss or a distance is
/// a mean over tokens of differences of numbers near 5, each rounded by 2^-22 or so; a gradient's norm is
/// behind all layers twice.
constexpr double loss_tolerance = 1e-5;
constexpr double gradient_norm_tolerance = 1e-4;

}  // namespace espalier::test
