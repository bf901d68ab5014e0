// One step of AdamW, element by element.
#pragma once

#include "kernels/adamw.hpp"
#include "kernels/reference/values.hpp"

namespace espalier::reference {

/// master, first and second moments are updated in place.
void adamw(const AdamWOptions& options, const Values& gradient, Values& master, Values& first_moment,
           Values& second_moment);

}  // namespace espalier::reference
