// Where the static shared memory of kernels is.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace espalier::rig {

/// The function-local statics of namespace espalier::cuda, which in kernels are what they declare __shared__,
/// found in the program's own symbol table: GCC gives variables of templates no section of their own (GCC bug
/// 70435).
const std::vector<std::span<char>>& shared_variables();

}  // namespace espalier::rig
