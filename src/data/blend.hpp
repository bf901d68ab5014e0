// Which source each sample of a blend comes from (build_blending_indices of
// megatron/core/datasets/helpers.cpp).
#pragma once

#include <cstdint>
#include <vector>

namespace espalier::data {

/// Weights divided by their sum, as numpy computes it.
std::vector<double> normalised(std::vector<double> weights);

struct Blend {
    /// Sample s goes to the first source that lags its weight most. Weights are positive, at most 32766 of
    /// them.
    Blend(const std::vector<double>& weights, int64_t count);

    std::vector<uint16_t> source;  ///< of sample s
    std::vector<uint32_t> index;   ///< which of that source's samples it is
};

}  // namespace espalier::data
