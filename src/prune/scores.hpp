// Importance as pruning reads it: one number a unit, for one choice of aggregators.
#pragma once

#include <vector>

#include "src/model/architecture.hpp"

namespace espalier::prune {

/// One measure of what the model is without a layer, or without a contiguous block of layers (by its first).
struct DepthScores {
    std::vector<double> layers;  ///< [layers]; empty where not measured
    std::vector<double> blocks;  ///< [layers - block + 1]; empty where not measured
};

struct DepthTable {
    DepthScores influence;         ///< 1 - E[cos(input, output)]: low where a layer changes little
    DepthScores loss_without;      ///< low where it is not missed
    DepthScores accuracy_without;  ///< high where it is not missed
    int64_t block = 0;             ///< layers of a block
};

/// Of each dim of each head, [layer][head * head_dim + dim]; no layers where not measured.
struct HeadDimScores {
    std::vector<std::vector<double>> queries, keys;  ///< as handed to attention
    std::vector<std::vector<double>> outputs;        ///< as handed to the output projection
};

struct Scores {
    std::vector<std::vector<double>> neurons;  ///< [layer][neuron]
    std::vector<std::vector<double>> heads;    ///< [layer][query head]
    std::vector<double> channels;              ///< [hidden], the sum over all norms
    DepthTable depth;
    HeadDimScores head_dims;
};

/// Throws UserError, naming `source`, when the scores are not for a model of this shape.
void check(const Scores& scores, const model::Architecture& a, const std::string& source);

}  // namespace espalier::prune
