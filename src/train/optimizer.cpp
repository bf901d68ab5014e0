#include "src/train/optimizer.hpp"

#include "kernels/elementwise.hpp"

namespace espalier::train {

Optimizer::Optimizer(Context& ctx, model::Transformer& model, OptimizerOptions options)
    : model_(model), options_(options) {
    const Shape shape = model.parameters().flat().shape();
    first_ = ctx.zeros(shape, DType::f32);
    second_ = ctx.zeros(shape, DType::f32);
    if (model.dtype() == DType::f32) {
        master_ = model.parameters().flat();
    } else {
        master_ = ctx.empty(shape, DType::f32);
        convert(ctx, model.parameters().flat(), master_);
    }
}

void Optimizer::step(Context& ctx, int64_t step, double learning_rate, double gradient_scale) {
    for (const auto& e : model_.parameters().entries()) {
        const AdamWOptions options{
            .learning_rate = static_cast<float>(learning_rate),
            .beta1 = options_.beta1,
            .beta2 = options_.beta2,
            .eps = options_.eps,
            .weight_decay = e.parameter.decay == model::Decay::yes ? options_.weight_decay : 0.0f,
            .step = step,
            .gradient_scale = static_cast<float>(gradient_scale)};
        const auto flat = [&](const Tensor& buffer) { return buffer.slice(e.offset, {e.size()}); };
        Tensor master = flat(master_), first = flat(first_), second = flat(second_),
               parameter = flat(model_.parameters().flat());
        adamw(ctx, options, flat(model_.gradients()), master, first, second, parameter);
    }
}

void Optimizer::publish_master(Context& ctx) {
    if (master_.raw() != model_.parameters().flat().raw()) convert(ctx, master_, model_.parameters().flat());
}

}  // namespace espalier::train
