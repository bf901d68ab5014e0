// Which hidden states of teacher and student should be alike, as the user writes it: "embedding,29:13".
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/state_distance.hpp"
#include "src/model/states.hpp"

namespace espalier::distill {

struct StatePair {
    model::StateName teacher, student;
    bool normed = false;  ///< not these residual streams but what the norm that reads them makes of them
    bool operator==(const StatePair&) const = default;
};

/// weight * sum over pairs of the mean over tokens of the distance of their states.
struct StateTerms {
    std::vector<StatePair> pairs;
    StateDistance distance = StateDistance::cosine;
    /// None: alpha = L_logits / L_states, as it is for each micro-batch (arXiv 2407.14679, section 3).
    std::optional<double> weight;
};

/// map: a list of pairs between commas; numbers are layers from 0.
///   embedding      the embeddings' outputs
///   T:S            outputs of the teacher's layer T and the student's S after the norm that reads them:
///                  the next layer's, or the final one (the papers' states are always after the norm)
///   block:T:S      the same before the norm, the residual stream
///   mlp:T:S        the inputs of their MLPs, which are outputs of norms
///   attention:T:S  the inputs of their attention, likewise
/// weight: "auto" or a number. Throws UserError naming option and word.
StateTerms parse_state_terms(const std::string& map, const std::string& distance, const std::string& weight);

/// With each normed pair's norms by their names in these models. Throws UserError where a pair names a layer
/// that its model does not have.
StateTerms resolved(StateTerms terms, const model::Architecture& teacher, const std::string& teacher_source,
                    const model::Architecture& student, const std::string& student_source);

}  // namespace espalier::distill
