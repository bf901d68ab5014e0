// Ties decide, so every operation rounds as it does in Megatron-LM; this file is compiled without contraction
// to FMA.
#include "src/data/blend.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace espalier::data {
namespace {

/// numpy's order of summation: from the left below 8 values, in 8 interleaved sums up to 128, halves beyond.
double numpy_sum(std::span<const double> values) {
    constexpr size_t lanes = 8, block = 128;
    const size_t n = values.size();
    if (n > block) {
        const size_t half = n / 2 - n / 2 % lanes;
        return numpy_sum(values.first(half)) + numpy_sum(values.subspan(half));
    }
    double sum = 0;
    size_t i = 0;
    if (n >= lanes) {
        std::array<double, lanes> r{};
        for (; i + lanes <= n; i += lanes) {
            for (size_t lane = 0; lane < lanes; ++lane) r[lane] += values[i + lane];
        }
        sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    }
    for (; i < n; ++i) sum += values[i];
    return sum;
}

}  // namespace

std::vector<double> normalised(std::vector<double> weights) {
    const double sum = numpy_sum(weights);
    for (double& w : weights) w /= sum;
    return weights;
}

Blend::Blend(const std::vector<double>& weights, int64_t count)
    : source(static_cast<size_t>(count)), index(static_cast<size_t>(count)) {
    std::vector<uint32_t> taken(weights.size());
    for (size_t s = 0; s < source.size(); ++s) {
        const double position = std::max(static_cast<double>(s), 1.0);
        size_t best = 0;
        double most = weights[0] * position - taken[0];
        for (size_t d = 1; d < weights.size(); ++d) {
            const double lag = weights[d] * position - taken[d];
            if (lag > most) {
                most = lag;
                best = d;
            }
        }
        source[s] = static_cast<uint16_t>(best);
        index[s] = taken[best]++;
    }
}

}  // namespace espalier::data
