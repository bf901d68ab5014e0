#include "src/model/transformer.hpp"

#include <algorithm>

#include "kernels/elementwise.hpp"
#include "kernels/embedding.hpp"

namespace espalier::model {

Transformer::Transformer(Context& ctx, Architecture architecture, const comm::Topology& topology, DType dtype,
                         Gradients gradients)
    : a_(std::move(architecture)),
      placement_(place(a_, topology.layout.tp, topology.tensor.rank(), topology.layout.pp, topology.stage())),
      tensor_(topology.tensor),
      set_(ctx, a_, placement_, dtype) {
    if (gradients == Gradients::keep) gradients_ = ctx.zeros({set_.flat_size()}, DType::f32);
    for (int64_t i = placement_.layers.begin; i < placement_.layers.end; ++i) {
        layers_.emplace_back(a_, i, placement_.tensor, set_, gradients_, tensor_);
    }
}

const RotaryTable& Transformer::rotary(Context& ctx, int64_t positions) {
    if (!rotary_.cosines || rotary_.cosines.dim(0) < positions)
        rotary_ = make_rotary_table(ctx, a_, positions);
    return rotary_;
}

Tensor Transformer::embed(Context& ctx, const TokenBatch& tokens) const {
    Tensor partial = ctx.empty({tokens.tokens(), a_.hidden}, dtype());
    espalier::embed(ctx, tokens.ids, ParameterSet::view(set_.flat(), set_.find(Weight::token_embedding)),
                    vocabulary().begin, partial);
    return tensor_.reduce_scatter(ctx, partial);
}

namespace {

int64_t positions_of(const TokenBatch& tokens) {
    const auto positions = tokens.positions.span<int32_t>();
    return positions.empty() ? 0 : *std::max_element(positions.begin(), positions.end()) + 1;
}

}  // namespace

Tensor Transformer::forward_layer(Context& ctx, int64_t layer_index, const Tensor& x,
                                  const TokenBatch& tokens, const ForwardExtras& extras) {
    return layer(layer_index).forward(ctx, x, tokens, rotary(ctx, positions_of(tokens)), extras);
}

Tensor Transformer::forward(Context& ctx, Tensor x, const TokenBatch& tokens, SavedStage* saved,
                            Observer* observer) {
    if (saved) saved->layers.resize(layers_.size());
    for (size_t i = 0; i < layers_.size(); ++i) {
        x = forward_layer(ctx, layers_[i].index(), x, tokens,
                          {.saved = saved ? &saved->layers[i] : nullptr, .observer = observer});
    }
    return x;
}

Tensor Transformer::final_hidden(Context& ctx, const Tensor& x, const TokenBatch& tokens, SavedStage* saved,
                                 Observer* observer) const {
    Tensor y = ctx.empty(x.shape(), x.dtype()), stats = ctx.empty({x.dim(0), 2}, DType::f32);
    norm(ctx, x, ParameterSet::view(set_.flat(), set_.find(Weight::final_norm)),
         ParameterSet::view(set_.flat(), set_.find(Weight::final_norm_bias)), a_.norm, y, stats);
    const Tensor hidden = tensor_.all_gather(ctx, y, tokens.tokens());
    if (observer) observer->norm_output(ctx, 2 * a_.depth(), tokens, hidden);
    if (saved) {
        saved->last = x;
        saved->last_stats = stats;
    }
    return hidden;
}

Tensor Transformer::final_hidden_backward(Context& ctx, const Tensor& d_hidden, const SavedStage& saved) {
    const Tensor dy = tensor_.reduce_scatter(ctx, d_hidden);
    Tensor dx = ctx.zeros(saved.last.shape(), dtype());
    Tensor d_weight = ParameterSet::view(gradients_, set_.find(Weight::final_norm));
    Tensor d_bias = ParameterSet::view(gradients_, set_.find(Weight::final_norm_bias));
    norm_backward(ctx, dy, saved.last, ParameterSet::view(set_.flat(), set_.find(Weight::final_norm)),
                  saved.last_stats, a_.norm, dx, d_weight, d_bias);
    return dx;
}

Tensor Transformer::backward(Context& ctx, Tensor d_out, const TokenBatch& tokens, SavedStage& saved) {
    const RotaryTable& table = rotary(ctx, positions_of(tokens));
    for (size_t i = layers_.size(); i-- > 0;) {
        d_out = layers_[i].backward(ctx, d_out, tokens, table, saved.layers[i]);
        saved.layers[i] = {};
    }
    return d_out;
}

void Transformer::embed_backward(Context& ctx, const Tensor& dx, const TokenBatch& tokens) {
    const Tensor d_out = tensor_.all_gather(ctx, dx, tokens.tokens());
    Tensor d_table = ParameterSet::view(gradients_, set_.find(Weight::token_embedding));
    espalier::embed_backward(ctx, d_out, tokens.ids, vocabulary().begin, d_table);
}

Tensor Transformer::head() const {
    return ParameterSet::view(set_.flat(), set_.find(a_.tied ? Weight::token_embedding : Weight::head));
}

Tensor Transformer::head_gradient() const {
    return ParameterSet::view(gradients_, set_.find(a_.tied ? Weight::token_embedding : Weight::head));
}

TokenBatch make_batch(Context& ctx, const std::vector<int32_t>& ids, int64_t batch, int64_t seq,
                      int64_t first_position) {
    TokenBatch out{batch, seq, ctx.empty({batch * seq}, DType::i32), ctx.empty({batch * seq}, DType::i32)};
    std::copy(ids.begin(), ids.end(), out.ids.data<int32_t>());
    for (int64_t i = 0; i < batch * seq; ++i)
        out.positions.data<int32_t>()[i] = narrow<int32_t>(first_position + i % seq);
    return out;
}

}  // namespace espalier::model
