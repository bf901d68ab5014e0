// Heads normalised, one at a time.
#pragma once

#include "kernels/qk_norm.hpp"
#include "kernels/reference/values.hpp"

namespace espalier::reference {

/// y [tokens, all heads * head_dim]
Values qk_norm(const Values& x, const Values& query_weight, const Values& key_weight, HeadCounts heads,
               double eps);

struct QkNormGradients {
    Values dx, d_query_weight, d_key_weight;
};
QkNormGradients qk_norm_backward(const Values& dy, const Values& x, const Values& query_weight,
                                 const Values& key_weight, HeadCounts heads, double eps);

}  // namespace espalier::reference
