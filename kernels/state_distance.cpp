#include "kernels/state_distance.hpp"

#include <array>
#include <utility>

#include "kernels/cpu/state_distance.hpp"
#include "kernels/cuda/state_distance.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {
namespace {

constexpr std::array names{std::pair{StateDistance::cosine, std::string_view("cosine")},
                           std::pair{StateDistance::mse, std::string_view("mse")}};

}  // namespace

std::string_view to_string(StateDistance distance) {
    for (const auto& [value, name] : names) {
        if (value == distance) return name;
    }
    throw InternalError("unknown state distance");
}

std::optional<StateDistance> state_distance_from_string(std::string_view wanted) {
    for (const auto& [value, name] : names) {
        if (name == wanted) return value;
    }
    return std::nullopt;
}

void state_distance(Context& ctx, StateDistance distance, const Tensor& student, const Tensor& teacher,
                    Tensor& distances, Tensor& d_student) {
    const auto [rows, n] = student.dims<2>();
    expect_here(ctx, student, "student");
    expect(ctx, teacher, {rows, n}, "teacher");
    expect(ctx, distances, {rows}, DType::f32, "distances");
    expect(ctx, d_student, {rows, n}, "d_student");
    if (rows == 0) return;
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) {
            return cuda::state_distance(ctx, distance, student, teacher, distances, d_student);
        }
    }
    cpu::state_distance(ctx, distance, student, teacher, distances, d_student);
}

}  // namespace espalier
