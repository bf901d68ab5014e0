// What the reference computes in.
#pragma once

#include <vector>

namespace espalier::reference {

using Values = std::vector<double>;

}  // namespace espalier::reference
