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

/// Bytes that one layer keeps of a micro-batch for its backward pass; h hidden, e bytes of a number.
/// Espalier (Practice::Selective::norms_and_activations):
///   none       selective + the norms' outputs of all tokens and the activation's: 2 s b h e + s b ffn e
///   selective  inputs of norms, attention, its output projection and the activation; f32 statistics
/// Others, whose backward gathers a norm's output from parts, and with e = 2:
///   none       selective + 5 q s^2 bytes of each sequence (q query heads of this rank)
///   selective  all four linear layers' and norms' inputs, masks of dropout in 1 byte: for a layer of 4 h
///              neurons and full attention s b h (10 + 24/t), 34/t where norms are split
/// Both:
///   full       the layer's input: s b h e, divided by t where norms are split
double layer_activations(const Step& step, const Layout& layout, const model::Architecture& a, int64_t index);

/// Bytes that are there at once beside it, in the pass through one layer.
double forward_bytes(const Step& step, const Layout& layout, const model::Architecture& a, int64_t index);
/// Of other programs than Espalier only what a layer that is computed again keeps.
double backward_bytes(const Step& step, const Layout& layout, const model::Architecture& a, int64_t index);

/// Of pipeline rank `stage`, which holds the activations of pp - stage micro-batches, of
/// 1 + (pp - 1) / (pp v) as many with v virtual stages on the first, where pp divides their number. A short
/// micro-batch counts as a whole one.
Memory memory(const Step& step, const Layout& layout, int64_t stage, StepPartition& partition);

}  // namespace espalier::plan
