#include "kernels/reference/norm.hpp"

#include <cmath>

namespace espalier::reference {
namespace {

double gain(double weight, NormOptions options) {
    return options.gain == Gain::one_plus_weight ? 1 + weight : weight;
}

}  // namespace

NormStats norm_stats(const double* row, int64_t n, NormOptions options) {
    const auto count = static_cast<double>(n);
    double mean = 0, squares = 0;
    if (options.kind == NormKind::layer) {
        for (int64_t j = 0; j < n; ++j) mean += row[j] / count;
    }
    for (int64_t j = 0; j < n; ++j) squares += (row[j] - mean) * (row[j] - mean);
    return {mean, 1 / std::sqrt(squares / count + double{options.eps})};
}

Values norm(const Values& x, const Values& weight, const Values& bias, NormOptions options) {
    const auto n = std::ssize(weight);
    Values y(x.size());
    for (int64_t row = 0; row < std::ssize(x); row += n) {
        const auto [mean, rstd] = norm_stats(&x[row], n, options);
        for (int64_t j = 0; j < n; ++j) {
            y[row + j] = gain(weight[j], options) * (x[row + j] - mean) * rstd + (bias.empty() ? 0 : bias[j]);
        }
    }
    return y;
}

NormGradients norm_backward(const Values& dy, const Values& x, const Values& weight, NormOptions options) {
    const auto n = std::ssize(weight);
    const auto count = static_cast<double>(n);
    NormGradients out{Values(x.size()), Values(weight.size()), Values(weight.size())};
    for (int64_t row = 0; row < std::ssize(x); row += n) {
        const auto [mean, rstd] = norm_stats(&x[row], n, options);
        const auto normal = [&, shift = mean, factor = rstd](int64_t j) {
            return (x[row + j] - shift) * factor;
        };
        double mean_g = 0, mean_g_normal = 0;  // g: gradient of the normalised row
        for (int64_t j = 0; j < n; ++j) {
            const double g = dy[row + j] * gain(weight[j], options);
            mean_g += g / count;
            mean_g_normal += g * normal(j) / count;
        }
        if (options.kind == NormKind::rms) mean_g = 0;  // no mean is taken away
        for (int64_t j = 0; j < n; ++j) {
            const double g = dy[row + j] * gain(weight[j], options);
            out.dx[row + j] = rstd * (g - mean_g - normal(j) * mean_g_normal);
            out.dweight[j] += dy[row + j] * normal(j);
            out.dbias[j] += dy[row + j];
        }
    }
    return out;
}

}  // namespace espalier::reference
