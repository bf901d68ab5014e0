// G, the rate that kernels are measured against: the best oneDNN matmul of square matrices in the same run.
#pragma once

#include <functional>

#include "src/core/context.hpp"

namespace espalier::benchmarks {

/// Best GFLOP/s so far over n = 1024 .. 4096 in `dtype`; the best size is measured once more at every call.
double yardstick(Context& ctx, DType dtype);

struct Rate {
    double gflops;  ///< of the work
    double of_g;    ///< relative to the yardstick
};
/// Best of several rounds of `work`, each beside a round of the yardstick, so that other load on the machine
/// falls on both.
Rate measure(Context& ctx, DType dtype, double flops, const std::function<void()>& work);

/// OpenMP's thread count (OMP_NUM_THREADS), else the processor's.
Context make_context();

/// [rows, columns] of numbers around 0.
Tensor numbers(Context& ctx, Shape shape, DType dtype);

}  // namespace espalier::benchmarks
