#include "kernels/reference/matmul.hpp"

#include <cstddef>

namespace espalier::reference {

std::vector<double> matmul(const std::vector<double>& x, const std::vector<double>& w,
                           const std::vector<double>& bias, int64_t m, int64_t n, int64_t k) {
    std::vector<double> y(static_cast<size_t>(m * n));
    for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            y[i * n + j] = bias.empty() ? 0.0 : bias[j];
            for (int64_t p = 0; p < k; ++p) y[i * n + j] += x[i * k + p] * w[j * k + p];
        }
    }
    return y;
}

std::vector<double> matmul_backward_input(const std::vector<double>& dy, const std::vector<double>& w,
                                          int64_t m, int64_t n, int64_t k) {
    std::vector<double> dx(static_cast<size_t>(m * k));
    for (int64_t i = 0; i < m; ++i) {
        for (int64_t p = 0; p < k; ++p) {
            for (int64_t j = 0; j < n; ++j) dx[i * k + p] += dy[i * n + j] * w[j * k + p];
        }
    }
    return dx;
}

std::vector<double> matmul_backward_weight(const std::vector<double>& dy, const std::vector<double>& x,
                                           int64_t m, int64_t n, int64_t k) {
    std::vector<double> dw(static_cast<size_t>(n * k));
    for (int64_t j = 0; j < n; ++j) {
        for (int64_t p = 0; p < k; ++p) {
            for (int64_t i = 0; i < m; ++i) dw[j * k + p] += dy[i * n + j] * x[i * k + p];
        }
    }
    return dw;
}

std::vector<double> bias_backward(const std::vector<double>& dy, int64_t m, int64_t n) {
    std::vector<double> dbias(static_cast<size_t>(n));
    for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) dbias[j] += dy[i * n + j];
    }
    return dbias;
}

}  // namespace espalier::reference
