// How far a student's hidden states are from a teacher's, token by token.
#pragma once

#include <optional>
#include <string_view>

#include "src/core/context.hpp"

namespace espalier {

enum class StateDistance {
    cosine,  ///< 1 - cos(s, t); 1 where either row is zero, and then without a gradient
    mse,     ///< mean over the row of (s - t)^2
};
std::string_view to_string(StateDistance distance);
std::optional<StateDistance> state_distance_from_string(std::string_view name);

/// For each row of student and teacher [rows, n], each f32 or bf16:
///   distances  [rows]     f32 =
///   d_student  [rows, n]  = the gradient of the row's distance; f32 or bf16; may be student itself
/// In f32; sums over a row join in double.
void state_distance(Context& ctx, StateDistance distance, const Tensor& student, const Tensor& teacher,
                    Tensor& distances, Tensor& d_student);

}  // namespace espalier
