#include "src/model/activation_bytes.hpp"

#include "src/model/head_blocks.hpp"

namespace espalier::model {

int64_t ActivationBytes::inputs() const {
    return (parallel ? 1 : 2) * local + 2 * put_out + qkv + heads + before;
}

ActivationBytes activation_bytes(const Architecture& a, int64_t layer, TensorPart tensor, TokenCounts tokens,
                                 DType dtype) {
    const auto size = [&](Axis axis) { return local_range(a, layer, axis, tensor).size(); };
    const int64_t q = size(Axis::query_head), kv = size(Axis::kv_head), ffn = size(Axis::ffn);
    const int64_t row = tokens.all * static_cast<int64_t>(size_of(dtype)), stats = 4 * tokens.local * 2;
    return {.parallel = a.parallel_block,
            .tp = tensor.size,
            .all = hidden_bytes(a, tokens.all, dtype),
            .local = hidden_bytes(a, tokens.local, dtype),
            .qkv = row * (q + 2 * kv) * a.head_dim,
            .heads = row * q * a.head_dim,
            .before = row * (is_gated(a.activation) ? 2 : 1) * ffn,
            .neurons = row * ffn,
            .lse = 4 * tokens.all * q,
            .stats = stats,
            .normed = a.qk_norm_eps ? row * (q + 2 * kv) * a.head_dim : 0,
            .rstd = a.qk_norm_eps ? 4 * tokens.all * (q + kv) : 0,
            .put_out = a.post_norms ? hidden_bytes(a, tokens.local, dtype) : 0,
            .post_stats = a.post_norms ? 2 * stats : 0};
}

int64_t saved_bytes(const ActivationBytes& b, Recompute recompute) {
    if (recompute == Recompute::full) return b.local;
    const int64_t norms = b.parallel ? 1 : 2;
    const int64_t selective = b.inputs() + norms * b.stats + b.post_stats + b.lse;
    return recompute == Recompute::none ? selective + norms * b.all + b.neurons + b.normed + b.rstd
                                        : selective;
}

// The steps of Layer::forward and Layer::backward, from the top: where one rank has all tokens, gathering and
// scattering make no copies: the first two partial sums are h and out, and two of d_full are db and da.

int64_t forward_bytes(const ActivationBytes& b) {
    const int64_t gathered = b.tp > 1 ? 4 : 2;  // a, b and partial sums
    return gathered * b.all + 3 * b.local + b.qkv + b.heads + b.before + b.neurons + b.lse + b.rstd;
}

int64_t backward_bytes(const ActivationBytes& b, Recompute recompute) {
    const bool selective = recompute == Recompute::selective;
    const int64_t gathered = b.tp > 1 ? 4 : 3;  // d_full, a and b
    const int64_t local = b.tp > 1 ? 4 : 2;     // d_out, db; da and a norm's part
    const int64_t neurons = selective ? 2 : 1;  // act, d_act
    const int64_t heads = selective ? b.normed + b.rstd : 0;
    const int64_t d_put_out = b.put_out;  // one at a time
    return gathered * b.all + local * b.local + d_put_out + neurons * b.neurons + b.before + b.heads + b.qkv +
           heads;
}

int64_t hidden_bytes(const Architecture& a, int64_t tokens, DType dtype) {
    return tokens * a.hidden * static_cast<int64_t>(size_of(dtype));
}

int64_t head_state_bytes(const Architecture& a, TokenCounts tokens, DType dtype) {
    return hidden_bytes(a, tokens.local, dtype) + 2 * hidden_bytes(a, tokens.all, dtype);
}

int64_t logit_bytes(const Architecture& a, Device device, TensorPart tensor, int64_t tokens, DType dtype,
                    int models) {
    const auto storage = head_storage(device, dtype);
    const auto blocks = head_blocks(a, device, dtype, tensor.size, tokens, storage);
    const int64_t rows = blocks.tokens.front().size(), vocab = local_range(a, -1, Axis::vocab, tensor).size(),
                  columns = div_ceil(vocab, blocks.parts),
                  at_once = storage == HeadBlocks::Storage::kept ? vocab : columns;
    const bool in_place = dtype == DType::f32 && a.final_soft_cap == 0,
               summed_apart = dtype != DType::f32 && blocks.parts > 1;
    return rows * (4 * models * at_once + (in_place ? 0 : static_cast<int64_t>(size_of(dtype)) * columns) +
                   (summed_apart ? 4 * a.hidden : 0));
}

}  // namespace espalier::model
