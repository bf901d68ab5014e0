#include "src/train/optimizer.hpp"

#include <algorithm>

#include "kernels/elementwise.hpp"

namespace espalier::train {

Optimizer::Optimizer(Context& ctx, model::ParameterSet& weights, const Tensor& gradients,
                     OptimizerOptions options, const comm::Communicator& replicas)
    : weights_(weights),
      gradients_(gradients),
      options_(options),
      replicas_(replicas),
      shards_(make_shards(weights, replicas)) {
    const Shape shape{shards_.mine().size()};
    const Tensor mine = weights.flat().slice(shards_.mine().begin, shape);
    first_ = ctx.zeros(shape, DType::f32);
    second_ = ctx.zeros(shape, DType::f32);
    if (weights.dtype() == DType::f32) {
        master_ = mine;
    } else {
        master_ = ctx.empty(shape, DType::f32);
        convert(ctx, mine, master_);
    }
}

void Optimizer::step(Context& ctx, int64_t step, double learning_rate, double gradient_scale) {
    const Range mine = shards_.mine();
    for (const auto& e : weights_.entries()) {
        const int64_t begin = std::max(mine.begin, e.offset), end = std::min(mine.end, e.offset + e.size());
        if (begin >= end) continue;
        const AdamWOptions options{
            .learning_rate = static_cast<float>(learning_rate),
            .beta1 = options_.beta1,
            .beta2 = options_.beta2,
            .eps = options_.eps,
            .weight_decay = e.parameter.decay == model::Decay::yes ? options_.weight_decay : 0.0f,
            .step = step,
            .gradient_scale = static_cast<float>(gradient_scale)};
        const auto whole = [&](const Tensor& flat) { return flat.slice(begin, {end - begin}); };
        const auto share = [&](const Tensor& state) {
            return state.slice(begin - mine.begin, {end - begin});
        };
        Tensor master = share(master_), first = share(first_), second = share(second_),
               parameter = whole(weights_.flat());
        adamw(ctx, options, whole(gradients_), master, first, second, parameter);
    }
    replicas_.all_gather(ctx, weights_.flat(), shards_.bounds);
}

int64_t Optimizer::state_bytes() const {
    const size_t moments = first_.bytes() + second_.bytes();
    return static_cast<int64_t>(weights_.dtype() == DType::f32 ? moments : moments + master_.bytes());
}

void Optimizer::publish_master(Context& ctx) {
    Tensor weights = weights_.flat().slice(shards_.mine().begin, master_.shape());
    if (master_.raw() != weights.raw()) convert(ctx, master_, weights);
    replicas_.all_gather(ctx, weights_.flat(), shards_.bounds);
}

}  // namespace espalier::train
