// Normalisation of rows: RMSNorm (Zhang and Sennrich 2019), LayerNorm (Ba et al. 2016), LayerNorm1P (NeMo).
#pragma once

#include "src/core/context.hpp"

namespace espalier {

enum class NormKind { rms, layer };
/// How the stored weight becomes the factor: as it is, or plus one (LayerNorm1P, Gemma).
enum class Gain { weight, one_plus_weight };

struct NormOptions {
    NormKind kind = NormKind::rms;
    Gain gain = Gain::weight;
    float eps = 1e-5f;
    bool operator==(const NormOptions&) const = default;
};

/// y = gain(weight) * (x - mean) * rstd + bias, one row at a time, statistics in f32.
/// rms: mean is 0 and rstd = 1 / sqrt(mean(x^2) + eps); layer: rstd = 1 / sqrt(var(x) + eps), biased
/// variance.
///   x       [rows, n]   f32 or bf16
///   weight  [n]         dtype of x
///   bias    [n]         dtype of x; empty for none
///   y       [rows, n]   =, dtype of x; may be x itself
///   stats   [rows, 2]   =, f32: mean and rstd, for the backward pass
void norm(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, NormOptions options,
          Tensor& y, Tensor& stats);
/// sum [rows, n] = x + r, and y and stats as norm makes them of it, with one read of x and r. r and sum of
/// x's dtype; sum may be x or r, y none of the three.
void add_norm(Context& ctx, const Tensor& x, const Tensor& r, const Tensor& weight, const Tensor& bias,
              NormOptions options, Tensor& sum, Tensor& y, Tensor& stats);

/// dx [rows, n] += (the residual stream's gradient is already there), dweight [n] f32 +=, dbias [n] f32 +=
/// (or empty). dy, dx of x's dtype; x, weight, stats as in norm. dx aliases neither dy nor x.
void norm_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& stats,
                   NormOptions options, Tensor& dx, Tensor& dweight, Tensor& dbias);

}  // namespace espalier
