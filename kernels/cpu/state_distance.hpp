// Distances of hidden states on the CPU; contracts and checks are those of kernels/state_distance.hpp.
#pragma once

#include "kernels/state_distance.hpp"

namespace espalier::cpu {

void state_distance(Context& ctx, StateDistance distance, const Tensor& student, const Tensor& teacher,
                    Tensor& distances, Tensor& d_student);

}  // namespace espalier::cpu
