#include "src/model/transformer.hpp"

#include <algorithm>

#include "kernels/elementwise.hpp"
#include "kernels/embedding.hpp"

namespace espalier::model {

Transformer::Transformer(Context& ctx, Architecture architecture, Placement placement,
                         comm::Communicator tensor, DType dtype, Gradients gradients)
    : a_(std::move(architecture)),
      placement_(std::move(placement)),
      tensor_(std::move(tensor)),
      set_(ctx, a_, placement_, dtype) {
    if (gradients == Gradients::keep) gradients_ = ctx.zeros({set_.flat_size()}, DType::f32);
    for (const Range run : placement_.virtual_stages) {
        for (int64_t i = run.begin; i < run.end; ++i)
            layers_.emplace_back(a_, i, placement_.tensor, set_, gradients_, tensor_);
    }
}

Transformer::Transformer(Context& ctx, const Architecture& architecture, const comm::Topology& topology,
                         DType dtype, Gradients gradients, int virtual_stages)
    : Transformer(ctx, architecture,
                  partition(architecture, {topology.layout.tp, topology.tensor.rank()},
                            {topology.layout.pp, topology.stage(), virtual_stages}),
                  topology.tensor, dtype, gradients) {}

size_t Transformer::slot_of(int64_t layer) const {
    size_t before = 0;
    for (const Range run : placement_.virtual_stages) {
        if (run.contains(layer)) return before + static_cast<size_t>(layer - run.begin);
        before += static_cast<size_t>(run.size());
    }
    throw InternalError(fmt::format("layer {} is on another rank", layer));
}

int64_t Transformer::attention_scratch(Context& ctx, int64_t batch, int64_t seq) const {
    int64_t most = 0;
    for (const Layer& layer : layers_)
        most = std::max(most, layer.attention_scratch(ctx, dtype(), batch, seq));
    return most;
}

const RotaryTable& Transformer::rotary(Context& ctx, int64_t positions) {
    if (!rotary_.cosines || rotary_.cosines.dim(0) < positions)
        rotary_ = make_rotary_table(ctx, a_, std::max(positions, std::min(2 * positions, a_.max_positions)));
    return rotary_;
}

float Transformer::embedding_scale() const {
    const auto exactly = static_cast<float>(a_.embedding_scale);
    return dtype() == DType::bf16 ? static_cast<float>(bfloat16(exactly)) : exactly;
}

Tensor Transformer::embed(Context& ctx, const TokenBatch& tokens) const {
    const Timed timed = ctx.computing();
    Tensor partial = ctx.empty({tokens.tokens(), a_.hidden}, dtype());
    espalier::embed(ctx, tokens.ids, set_.weight(Weight::token_embedding), vocabulary().begin, partial);
    Tensor x = tensor_.reduce_scatter(ctx, partial);
    if (a_.embedding_scale != 1) scale(ctx, embedding_scale(), x);
    return x;
}

Tensor Transformer::forward_layer(Context& ctx, int64_t layer_index, const Tensor& x,
                                  const TokenBatch& tokens, const ForwardExtras& extras) {
    const Timed timed = ctx.computing();
    set_.wait_for_part(layer_index);
    return layer(layer_index).forward(ctx, x, tokens, rotary(ctx, tokens.end_position), extras);
}

Tensor Transformer::forward(Context& ctx, Tensor x, const TokenBatch& tokens, SavedStage* saved,
                            Observer* observer, int virtual_stage) {
    const Range run = placement_.virtual_stages.at(static_cast<size_t>(virtual_stage));
    if (saved) saved->layers.resize(static_cast<size_t>(run.size()));
    for (int64_t i = run.begin; i < run.end; ++i) {
        SavedLayer* kept = saved ? &saved->layers[static_cast<size_t>(i - run.begin)] : nullptr;
        if (kept && saved->recompute == Recompute::full) {
            kept->x = x;
            kept = nullptr;
        }
        x = forward_layer(ctx, i, x, tokens,
                          {.saved = kept,
                           .keep_cheap = saved && saved->recompute == Recompute::none,
                           .observer = observer});
    }
    return x;
}

Tensor Transformer::final_norm(Context& ctx, const Tensor& x, SavedStage* saved) const {
    const Timed timed = ctx.computing();
    Tensor y = ctx.empty(x.shape(), x.dtype()), stats = ctx.empty({x.dim(0), 2}, DType::f32);
    norm(ctx, x, set_.weight(Weight::final_norm), set_.weight(Weight::final_norm_bias), a_.norm, y, stats);
    if (saved) {
        saved->last = x;
        saved->last_stats = stats;
    }
    return y;
}

Tensor Transformer::final_hidden(Context& ctx, const Tensor& x, const TokenBatch& tokens, SavedStage* saved,
                                 Observer* observer) const {
    const Timed timed = ctx.computing();
    Tensor hidden = tensor_.all_gather(ctx, final_norm(ctx, x, saved), tokens.tokens());
    if (observer) observer->norm_output(ctx, {Site::final_norm}, tokens, hidden);
    return hidden;
}

Tensor Transformer::final_hidden_backward(Context& ctx, const Tensor& d_hidden, const SavedStage& saved,
                                          Injector* injector) {
    const Timed timed = ctx.computing();
    Tensor dy = tensor_.reduce_scatter(ctx, d_hidden);
    if (injector) injector->norm_output(ctx, {Site::final_norm}, dy);
    Tensor dx = ctx.zeros(saved.last.shape(), dtype());
    Tensor d_weight = ParameterSet::view(gradients_, set_.find(Weight::final_norm));
    Tensor d_bias = ParameterSet::view(gradients_, set_.find(Weight::final_norm_bias));
    norm_backward(ctx, dy, saved.last, set_.weight(Weight::final_norm), saved.last_stats, a_.norm, dx,
                  d_weight, d_bias);
    return dx;
}

Tensor Transformer::backward(Context& ctx, Tensor d_out, const TokenBatch& tokens, SavedStage& saved,
                             int virtual_stage, Injector* injector, const AfterLayer& after) {
    const Timed timed = ctx.computing();
    const RotaryTable& table = rotary(ctx, tokens.end_position);
    const Range run = placement_.virtual_stages.at(static_cast<size_t>(virtual_stage));
    for (int64_t i = run.end; i-- > run.begin;) {
        SavedLayer kept = std::move(saved.layers[static_cast<size_t>(i - run.begin)]);
        if (saved.recompute == Recompute::full)
            forward_layer(ctx, i, Tensor(kept.x), tokens,
                          {.saved = &kept, .keep_cheap = true, .output = false});
        if (injector) injector->residual(ctx, i, d_out);
        d_out = layers_[slot_of(i)].backward(ctx, d_out, tokens, table, kept, injector);
        if (after) after(i);
    }
    if (injector && run.begin == 0) injector->residual(ctx, -1, d_out);
    return d_out;
}

void Transformer::embed_backward(Context& ctx, Tensor dx, const TokenBatch& tokens) {
    const Timed timed = ctx.computing();
    if (a_.embedding_scale != 1) scale(ctx, embedding_scale(), dx);
    const Tensor d_out = tensor_.all_gather(ctx, dx, tokens.tokens());
    Tensor d_table = ParameterSet::view(gradients_, set_.find(Weight::token_embedding));
    espalier::embed_backward(ctx, d_out, tokens.ids, vocabulary().begin, d_table);
}

Tensor Transformer::head() const {
    return set_.weight(a_.tied ? Weight::token_embedding : Weight::head);
}

Tensor Transformer::head_bias() const {
    return set_.weight(Weight::head_bias);
}

Tensor Transformer::head_bias_gradient() const {
    return ParameterSet::view(gradients_, set_.find(Weight::head_bias));
}

Tensor Transformer::head_gradient() const {
    return ParameterSet::view(gradients_, set_.find(a_.tied ? Weight::token_embedding : Weight::head));
}

Tensor ids_tensor(Context& ctx, const std::vector<int32_t>& ids) {
    const Tensor host = ctx.empty_on_host({narrow<int64_t>(ids.size())}, DType::i32);
    std::copy(ids.begin(), ids.end(), host.data<int32_t>());
    return ctx.to_device(host);
}

TokenBatch make_batch(Context& ctx, const std::vector<int32_t>& ids, int64_t batch, int64_t seq,
                      int64_t first_position) {
    std::vector<int32_t> positions;
    positions.reserve(ids.size());
    for (int64_t i = 0; i < batch * seq; ++i) positions.push_back(narrow<int32_t>(first_position + i % seq));
    return {batch, seq, ids_tensor(ctx, ids), ids_tensor(ctx, positions), first_position + seq};
}

}  // namespace espalier::model
