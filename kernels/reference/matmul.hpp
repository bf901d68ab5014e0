// Linear layers as a textbook says them, in double, one loop an index; layouts as in kernels/matmul.hpp.
#pragma once

#include <cstdint>
#include <vector>

namespace espalier::reference {

/// x [m, k] w [n, k]^T + bias [n]; bias may be empty.
std::vector<double> matmul(const std::vector<double>& x, const std::vector<double>& w,
                           const std::vector<double>& bias, int64_t m, int64_t n, int64_t k);
/// dx [m, k] = dy [m, n] w [n, k]
std::vector<double> matmul_backward_input(const std::vector<double>& dy, const std::vector<double>& w,
                                          int64_t m, int64_t n, int64_t k);
/// dw [n, k] = dy [m, n]^T x [m, k]
std::vector<double> matmul_backward_weight(const std::vector<double>& dy, const std::vector<double>& x,
                                           int64_t m, int64_t n, int64_t k);
/// dbias [n] = column sums of dy [m, n]
std::vector<double> bias_backward(const std::vector<double>& dy, int64_t m, int64_t n);

}  // namespace espalier::reference
