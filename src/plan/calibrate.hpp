// From measured times to the constants of a system: what `plan --calibrate` measured, fitted by least
// squares.
#pragma once

#include <span>

#include "src/plan/system.hpp"

namespace espalier::plan {

/// A square product of n x n matrices.
struct MatmulSample {
    double n;
    double flops_per_second;
};
/// The curve through samples: 1 / rate = (1 + half_size / n) / peak is a line in 1 / n, and `peak` the rate
/// of endless matrices. Where small products are no slower the curve is flat at the fastest. Two different n
/// at least.
struct MatmulFit {
    double peak;
    MatmulCurve curve;
};
MatmulFit fit_matmul(std::span<const MatmulSample> samples);

/// One collective of `bytes` bytes.
struct CollectiveSample {
    double bytes;
    double seconds;
};
/// Bandwidth and latency of a ring all-reduce over `ranks` >= 2: seconds = 2 (n-1)/n bytes / w + 2 (n-1) a, a
/// line in bytes, weighted so that small messages count as much as large ones.
Link fit_all_reduce(std::span<const CollectiveSample> samples, int64_t ranks);

}  // namespace espalier::plan
