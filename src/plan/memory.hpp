// What a rank holds at the fullest moment of a step. Formulas: Korthikanti et al., arXiv 2205.05198, section
// 4, written for any widths of query, KV heads and MLP; ZeRO-1: Rajbhandari et al., arXiv 1910.02054.
#pragma once

#include "src/plan/partition.hpp"

namespace espalier::plan {

/// Bytes of a rank.
struct Memory {
    double weights = 0;  ///< the teacher's too
    double gradients = 0;
    double optimizer = 0;
    double activations = 0;
    double logits = 0;

    double sum() const { return weights + gradients + optimizer + activations + logits; }
};

/// Bytes that one layer keeps of a micro-batch for its backward pass.
///   none       selective + 5 q s^2 bytes of each sequence (q query heads of this rank)
///   selective  with h hidden, all four linear layers' and norms' inputs in 2 bytes, masks of dropout in 1:
///              for a layer of 4 h neurons and full attention s b h (10 + 24/t), 34/t where norms are split
///   full       its input: 2 s b h, divided by t where norms are split
double layer_activations(const Step& step, const Layout& layout, const model::Architecture& a, int64_t index);

/// Of pipeline rank `stage`, which holds the activations of pp - stage micro-batches, of
/// 1 + (pp - 1) / (pp v) as many with v virtual stages on the first.
Memory memory(const Step& step, const Layout& layout, int64_t stage, StepPartition& partition);

}  // namespace espalier::plan
