#include "src/train/optimizer.hpp"

#include "kernels/elementwise.hpp"

namespace espalier::train {

Optimizer::Optimizer(Context& ctx, model::ParameterSet& weights, const Tensor& gradients,
                     OptimizerOptions options, const comm::Communicator& replicas)
    : weights_(weights),
      gradients_(gradients),
      options_(options),
      replicas_(replicas),
      shards_(make_shards(weights, replicas)),
      share_(runs_of_share(ctx, weights, shards_)),
      owned_(runs_owned(ctx, weights, shards_)) {
    const Shape shape{shards_.mine().size()};
    const Tensor mine = weights.flat().slice(shards_.mine().begin, shape);
    first_moment_ = ctx.zeros(shape, DType::f32);
    second_moment_ = ctx.zeros(shape, DType::f32);
    if (weights.dtype() == DType::f32) {
        master_ = mine;
    } else {
        master_ = ctx.empty(shape, DType::f32);
        convert(ctx, mine, master_);
    }
}

void Optimizer::step(Context& ctx, int64_t step, double learning_rate, double gradient_scale) {
    const Timed timed = ctx.computing();
    const AdamWOptions options{.learning_rate = static_cast<float>(learning_rate),
                               .beta1 = options_.beta1,
                               .beta2 = options_.beta2,
                               .eps = options_.eps,
                               .weight_decay = options_.weight_decay,
                               .step = step,
                               .gradient_scale = static_cast<float>(gradient_scale)};
    const auto mine = [&](const Tensor& flat) { return flat.slice(shards_.mine().begin, master_.shape()); };
    Tensor parameters = mine(weights_.flat());
    ctx.after_reads();  // a checkpoint may still copy what now changes
    adamw(ctx, options, share_, mine(gradients_), master_, first_moment_, second_moment_, parameters);
    gather_weights(ctx);
}

void Optimizer::gather_weights(Context& ctx) {
    Tensor flat = weights_.flat();
    if (!ctx.on_gpu() || weights_.parts().empty()) return replicas_.all_gather(ctx, flat, shards_.bounds);
    for (const model::Part& part : weights_.parts()) {
        Tensor weights = flat.slice(part.elements.begin, {part.elements.size()});
        weights_.expect(part.elements,
                        replicas_.begin_all_gather(ctx, weights, shards_.bounds_in(part.elements)));
    }
}

int64_t Optimizer::state_bytes() const {
    const size_t moments = first_moment_.bytes() + second_moment_.bytes();
    return static_cast<int64_t>(weights_.dtype() == DType::f32 ? moments : moments + master_.bytes());
}

void Optimizer::publish_master(Context& ctx) {
    Tensor weights = weights_.flat().slice(shards_.mine().begin, master_.shape());
    if (master_.raw() != weights.raw()) convert(ctx, master_, weights);
    replicas_.all_gather(ctx, weights_.flat(), shards_.bounds);
}

}  // namespace espalier::train
