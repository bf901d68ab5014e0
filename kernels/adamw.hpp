// AdamW (Loshchilov and Hutter 2019), decoupled weight decay.
#pragma once

#include "kernels/flat_runs.hpp"

namespace espalier {

struct AdamWOptions {
    float learning_rate = 0;
    float beta1 = 0.9f;
    float beta2 = 0.95f;
    float eps = 1e-8f;
    float weight_decay = 0;       ///< times the run's FlatRun::weight_decay_factor
    int64_t step = 1;             ///< counts from 1, for the bias correction
    float gradient_scale = 1.0f;  ///< multiplies the gradient first (clipping)
};

/// For each element of the runs, the others stay as they are:
/// g = scale * gradient; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
/// w -= lr * weight_decay * w, then w -= lr * m / (1 - b1^step) / (sqrt(v / (1 - b2^step)) + eps).
///   master, first_moment (m), second_moment (v)  [n] f32, updated in place;   gradient [n] f32
///   parameter [n] = master in its own dtype; may be master itself
/// All are flat buffers with the same offsets.
void adamw(Context& ctx, const AdamWOptions& options, const FlatRuns& runs, const Tensor& gradient,
           Tensor& master, Tensor& first_moment, Tensor& second_moment, Tensor& parameter);

}  // namespace espalier
