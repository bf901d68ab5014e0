// Angles of the rotary embedding, with the scalings that stretch a model's context.
#pragma once

#include <vector>

#include "src/core/context.hpp"
#include "src/model/architecture.hpp"

namespace espalier::model {

/// Frequencies [rotary_dim / 2]: base^(-2 i / rotary_dim), then
///   linear: divided by factor (Chen et al. 2023);
///   llama3: with wavelength w = 2 pi / f, long ones (w > original / low) divided by factor, short ones (w <
///   original / high) kept, those between blended by s = (original / w - low) / (high - low) (Llama 3.1;
///   modeling_rope_utils.py of huggingface/transformers);
///   yarn: blended too, by a ramp over i between the pairs that turn beta_fast and beta_slow times over the
///   original positions (Peng et al. 2023, arXiv 2309.00071; the same file).
std::vector<double> rotary_frequencies(const Architecture& a);

/// cosines, sines [positions, rotary_dim / 2] f32, times yarn's attention factor.
struct RotaryTable {
    Tensor cosines, sines;
};
RotaryTable make_rotary_table(Context& ctx, const Architecture& a, int64_t positions);

}  // namespace espalier::model
