// Attention as a textbook says it, in double, one loop an index; layouts as in kernels/attention.hpp.
#pragma once

#include <vector>

#include "kernels/attention.hpp"

namespace espalier::reference {

struct AttentionResult {
    std::vector<double> o;
    std::vector<double> lse;
};
AttentionResult attention(const std::vector<double>& qkv, const AttentionShape& shape,
                          const std::vector<int32_t>& starts = {});

/// dqkv. o is what attention gave, perhaps rounded since.
std::vector<double> attention_backward(const std::vector<double>& d_o, const std::vector<double>& qkv,
                                       const std::vector<double>& o, const AttentionShape& shape,
                                       const std::vector<int32_t>& starts = {});

/// o of the last shape.seq positions of `length`.
std::vector<double> attention_cached(const std::vector<double>& q, const std::vector<double>& keys,
                                     const std::vector<double>& values, int64_t length,
                                     const AttentionShape& shape);

}  // namespace espalier::reference
