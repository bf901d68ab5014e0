// Rotary embedding, pair by pair.
#pragma once

#include "kernels/reference/values.hpp"
#include "kernels/rotary.hpp"

namespace espalier::reference {

/// The rotated x [positions.size(), width]; cosines, sines [any, half].
Values rotate(const Values& x, const Values& cosines, const Values& sines,
              const std::vector<int32_t>& positions, int64_t half, int64_t heads, int64_t head_dim,
              Rotation rotation);

}  // namespace espalier::reference
