// AdamW on the GPU; contracts and checks are those of kernels/adamw.hpp.
#pragma once

#include "kernels/adamw.hpp"

namespace espalier::cuda {

void adamw(Context& ctx, const AdamWOptions& options, const FlatRuns& runs, const Tensor& gradient,
           Tensor& master, Tensor& first_moment, Tensor& second_moment, Tensor& parameter);

}  // namespace espalier::cuda
