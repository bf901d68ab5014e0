// Importance as pruning reads it: one number a unit, for one choice of aggregators.
#pragma once

#include <vector>

#include "src/model/architecture.hpp"

namespace espalier::prune {

struct Scores {
    std::vector<std::vector<double>> neurons;  ///< [layer][neuron]
    std::vector<std::vector<double>> heads;    ///< [layer][query head]
    std::vector<double> channels;              ///< [hidden], the sum over all norms
    std::vector<double> block_influence;       ///< [layer]; empty where not measured
    std::vector<double> loss_without;          ///< [layer]; empty where not measured
};

/// Throws UserError, naming `source`, when the scores are not for a model of this shape.
void check(const Scores& scores, const model::Architecture& a, const std::string& source);

}  // namespace espalier::prune
