// Which class of transformers computes what a model computes.
#pragma once

#include <optional>
#include <string>

#include "src/model/architecture.hpp"

namespace espalier::model {

struct Loadable {
    std::optional<Family> family;  ///< under which transformers loads the model
    std::string objection;         ///< where there is none: what stands against it, and the way out
};

/// The model's own family, or Mistral for a Llama whose hidden size is no multiple of its heads or that has
/// sliding windows (transformers' Llama has neither; Mistral is the same maths).
Loadable loadable(const Architecture& a);

/// The same; throws UserError with the objection.
Family loadable_family(const Architecture& a);

}  // namespace espalier::model
