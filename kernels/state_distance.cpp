#include "kernels/state_distance.hpp"

#include "kernels/cpu/state_distance.hpp"
#include "kernels/cuda/state_distance.hpp"
#include "src/core/has_cuda.hpp"
#include "src/core/names.hpp"

namespace espalier {
namespace {

constexpr std::array names{Named{StateDistance::cosine, "cosine"}, Named{StateDistance::mse, "mse"}};

}  // namespace

std::string_view to_string(StateDistance distance) {
    return name_of(names, distance);
}

std::optional<StateDistance> state_distance_from_string(std::string_view name) {
    return value_of(names, name);
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
