// One step of AdamW, element by element.
#pragma once

#include "kernels/adamw.hpp"

namespace espalier::reference {

using Values = std::vector<double>;

/// master, first and second moments are updated in place.
void adamw(const AdamWOptions& options, const Values& gradient, Values& master, Values& first_moment,
           Values& second_moment);

}  // namespace espalier::reference
