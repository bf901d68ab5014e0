// What a rank holds at the fullest moment of a step. Formulas: Korthikanti et al., arXiv 2205.05198, section
// 4, written for any widths of query, KV heads and MLP; ZeRO-1: Rajbhandari et al., arXiv 1910.02054.
#pragma once

#include <map>
#include <vector>

#include "src/core/exact.hpp"
#include "src/plan/layout.hpp"

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

/// Weights that a rank of each stage holds, read off the parameter table for tensor parallel rank 0, which
/// has the most.
class LocalWeights {
public:
    LocalWeights(const model::Architecture& a, int64_t tp);

    double of_layers(Range layers) const;
    double of_stage(const Layout& layout, int64_t stage) const;

private:
    const model::Architecture& a_;
    double embedding_ = 0;
    double tail_ = 0;             ///< final norm and head
    std::vector<double> before_;  ///< weights of layers 0 .. i - 1
};

/// LocalWeights of a step's model and teacher for each split asked for, counted once. Refers to the step.
class StepWeights {
public:
    explicit StepWeights(const Step& step) : step_(step) {}

    const LocalWeights& model(int64_t tp);
    const LocalWeights* teacher(int64_t tp);  ///< nullptr without one

private:
    const Step& step_;
    std::map<int64_t, LocalWeights> model_, teacher_;
};

/// Bytes that one layer keeps of a micro-batch for its backward pass.
///   none       selective + 5 q s^2 bytes of each sequence (q query heads of this rank)
///   selective  with h hidden, all four linear layers' and norms' inputs in 2 bytes, masks of dropout in 1:
///              for a layer of 4 h neurons and full attention s b h (10 + 24/t), 34/t where norms are split
///   full       its input: 2 s b h, divided by t where norms are split
double layer_activations(const Step& step, const Layout& layout, const model::Architecture& a, int64_t index);

/// Of pipeline rank `stage`, which holds the activations of pp - stage micro-batches, of
/// 1 + (pp - 1) / (pp v) as many with v virtual stages on the first.
Memory memory(const Step& step, const Layout& layout, int64_t stage, StepWeights& weights);

/// The layers of each virtual stage of a pipeline rank: number c of all pp v is on rank c mod pp.
std::vector<Range> virtual_stages_of(const model::Architecture& a, const Layout& layout, int64_t stage);

}  // namespace espalier::plan
