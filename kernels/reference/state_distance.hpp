// Distances of hidden states, in plain loops.
#pragma once

#include "kernels/reference/values.hpp"
#include "kernels/state_distance.hpp"

namespace espalier::reference {

struct StateDistances {
    Values distances;  ///< [rows]
    Values d_student;  ///< [rows, n]
};
/// Of student and teacher [rows, n].
StateDistances state_distance(StateDistance distance, const Values& student, const Values& teacher,
                              int64_t n);

}  // namespace espalier::reference
