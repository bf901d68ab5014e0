#include "kernels/reference/statistics.hpp"

#include <cmath>

namespace espalier::reference {

Values moments(const Values& x, int64_t n, int64_t samples, Range columns) {
    const int64_t count = columns.size(), seq = samples == 0 ? 0 : std::ssize(x) / n / samples;
    Values out(samples * 3 * count);
    for (int64_t sample = 0; sample < samples; ++sample) {
        for (int64_t j = 0; j < count; ++j) {
            const auto value = [&](int64_t i) { return x[(sample * seq + i) * n + columns.begin + j]; };
            double magnitude = 0, sum = 0, squares = 0;
            for (int64_t i = 0; i < seq; ++i) {
                magnitude += std::abs(value(i));
                sum += value(i);
            }
            const double mean = sum / static_cast<double>(seq);
            for (int64_t i = 0; i < seq; ++i) squares += (value(i) - mean) * (value(i) - mean);
            out[(sample * 3 + 0) * count + j] = magnitude;
            out[(sample * 3 + 1) * count + j] = mean;
            out[(sample * 3 + 2) * count + j] = squares;
        }
    }
    return out;
}

Values head_norms(const Values& o, int64_t head_dim) {
    Values out(o.size() / head_dim);
    for (size_t i = 0; i < out.size(); ++i) {
        double squares = 0;
        for (int64_t j = 0; j < head_dim; ++j) squares += o[i * head_dim + j] * o[i * head_dim + j];
        out[i] = std::sqrt(squares);
    }
    return out;
}

Values row_cosines(const Values& a, const Values& b, int64_t n) {
    Values out;
    for (int64_t row = 0; row < std::ssize(a); row += n) {
        double aa = 0, bb = 0, ab = 0;
        for (int64_t j = row; j < row + n; ++j) {
            aa += a[j] * a[j];
            bb += b[j] * b[j];
            ab += a[j] * b[j];
        }
        out.push_back(aa <= 0 || bb <= 0 ? 0.0 * ab : ab / std::sqrt(aa * bb));
    }
    return out;
}

}  // namespace espalier::reference
