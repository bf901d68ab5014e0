// Bytes that element-wise work of a step moves, as the planner counts them and `plan --calibrate` measures
// them. `element`: bytes of a number; widths are of one token; backward moves twice as much as forward.
#pragma once

namespace espalier::plan {

/// Read and written.
constexpr double norm_bytes(double element, double width) {
    return 2 * element * width;
}
/// Two read, one written.
constexpr double residual_sum_bytes(double element, double width) {
    return 3 * element * width;
}
/// `factors` of `width` numbers read (2 where gated, else 1), one written.
constexpr double activation_bytes(double element, double factors, double width) {
    return element * (factors + 1) * width;
}

/// That loss and gradient move for each logit (f32) of a student: written, read for the maximum, for the sum,
/// and for the gradient, which is written and read by its two products. A teacher's moves half of that.
constexpr double bytes_per_logit = 4 * (1 + 1 + 1 + 2 + 2);

}  // namespace espalier::plan
