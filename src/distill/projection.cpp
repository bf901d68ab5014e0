#include "src/distill/projection.hpp"

#include <cmath>

#include "kernels/elementwise.hpp"
#include "src/core/random.hpp"

namespace espalier::distill {
namespace {

using model::Axis;

model::Parameter row(int64_t teacher_hidden, int64_t student_hidden) {
    return {.weight = model::Weight::state_projection,
            .layer = -1,
            .name = "projection",
            .axes = {Axis::hidden, Axis::hidden},
            .shape = {teacher_hidden, student_hidden},
            .split = -1,
            .init = model::Init::normal,
            .decay = model::Decay::yes};
}

}  // namespace

Projection::Projection(Context& ctx, int64_t teacher_hidden, int64_t student_hidden, DType dtype)
    : set_(ctx, {row(teacher_hidden, student_hidden)}, dtype),
      gradients_(ctx.zeros({set_.flat_size()}, DType::f32)),
      weight_(model::ParameterSet::view(set_.flat(), &set_.entries().front())),
      gradient_(model::ParameterSet::view(gradients_, &set_.entries().front())) {}

void Projection::set(Context& ctx, const Tensor& values) {
    convert(ctx, ctx.to_device(values), weight_);
}

void Projection::follow(Context& ctx, const std::vector<int64_t>& kept) {
    const auto [rows, columns] = weight_.dims<2>();
    if (narrow<int64_t>(kept.size()) != columns) throw InternalError("a channel for every column");
    Tensor values = ctx.empty_on_host({rows, columns}, DType::f32);
    std::fill(values.span<float>().begin(), values.span<float>().end(), 0.0f);
    for (int64_t j = 0; j < columns; ++j) values.data<float>()[kept[j] * columns + j] = 1.0f;
    set(ctx, values);
}

void Projection::scatter(Context& ctx, uint64_t seed) {
    const uint64_t key = mix64(seed) ^ hash_name("projection");
    Tensor values = ctx.empty_on_host(weight_.shape(), DType::f32);
    const double deviation = 1.0 / std::sqrt(static_cast<double>(weight_.dim(0)));
    uint64_t i = 0;
    for (float& w : values.span<float>()) w = static_cast<float>(deviation * normal(key, i++));
    set(ctx, values);
}

}  // namespace espalier::distill
