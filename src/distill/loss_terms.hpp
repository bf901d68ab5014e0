// What a run minimises, as the user writes it: "kl", "kl=1,ce=0.1".
#pragma once

#include <optional>
#include <string>

#include "kernels/divergence.hpp"

namespace espalier::distill {

/// divergence_weight * D(teacher, student; temperature) + label_weight * cross entropy(student, labels).
struct LossTerms {
    std::optional<Divergence> divergence;
    double divergence_weight = 1;
    double label_weight = 0;
    double temperature = 1;
    int64_t top_k = 0;  ///< 0: the divergence is over the whole vocabulary; else over as many and one bucket
};

/// Throws UserError naming what it does not know. At most one divergence, and ce.
LossTerms parse_loss_terms(const std::string& text, double temperature, int64_t top_k = 0);

}  // namespace espalier::distill
