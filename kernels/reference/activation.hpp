// The MLP's nonlinearity, element by element.
#pragma once

#include "kernels/activation.hpp"
#include "kernels/reference/values.hpp"

namespace espalier::reference {

/// y [rows, n] of u [rows, n or 2 n].
Values activate(Activation activation, const Values& u, int64_t n);

/// du, shaped as u, of dy [rows, n].
Values activate_backward(Activation activation, const Values& dy, const Values& u, int64_t n);

}  // namespace espalier::reference
