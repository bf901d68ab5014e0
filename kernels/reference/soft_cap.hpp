// Capped logits.
#pragma once

#include "kernels/reference/values.hpp"

namespace espalier::reference {

Values soft_cap(double cap, const Values& z);

/// Of the gradient d of soft_cap(cap, z): that of z.
Values soft_cap_backward(double cap, const Values& z, const Values& d);

}  // namespace espalier::reference
