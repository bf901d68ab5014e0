#include "src/model/layer.hpp"

#include <cmath>

#include "kernels/elementwise.hpp"
#include "kernels/matmul.hpp"
#include "kernels/norm.hpp"
#include "kernels/rotary.hpp"
#include "kernels/rows.hpp"
#include "kernels/statistics.hpp"

namespace espalier::model {
namespace {

/// Puts the keys and values of new tokens at the end of the cache; gives their queries.
Tensor append(Context& ctx, const Tensor& qkv, const AttentionShape& shape, const CacheUse& use) {
    const int64_t tokens = qkv.dim(0), q = shape.query_heads * shape.head_dim,
                  kv = shape.kv_heads * shape.head_dim;
    Tensor keys = use.cache->keys.rows(use.length - tokens, tokens),
           values = use.cache->values.rows(use.length - tokens, tokens);
    copy_columns(ctx, qkv, q, keys, 0, kv);
    copy_columns(ctx, qkv, q + kv, values, 0, kv);
    Tensor queries = ctx.empty({tokens, q}, qkv.dtype());
    copy_columns(ctx, qkv, 0, queries, 0, q);
    return queries;
}

}  // namespace

Layer::Layer(const Architecture& a, int64_t index, TensorPart part, const ParameterSet& set,
             const Tensor& gradients, comm::Communicator tensor)
    : index_(index),
      hidden_(a.hidden),
      norm_(a.norm),
      parallel_(a.parallel_block),
      post_norms_(a.post_norms),
      qk_norm_eps_(a.qk_norm_eps),
      activation_(a.activation),
      tensor_(std::move(tensor)) {
    const Range heads = local_range(a, index, Axis::query_head, part),
                kv = local_range(a, index, Axis::kv_head, part);
    shape_.query_heads = heads.size();
    shape_.kv_heads = kv.size();
    shape_.head_dim = a.head_dim;
    shape_.group = a.group(index);
    shape_.first_in_group = heads.begin - kv.begin * shape_.group;
    shape_.scale = static_cast<float>(
        1.0 / std::sqrt(static_cast<double>(a.query_scalar > 0 ? a.query_scalar : a.head_dim)));
    shape_.window = a.layers.at(static_cast<size_t>(index)).window;
    shape_.soft_cap = a.attention_soft_cap;
    ffn_ = local_range(a, index, Axis::ffn, part).size();
    w_ = weights(set, set.flat());
    if (gradients) g_ = weights(set, gradients);
}

Layer::Weights Layer::weights(const ParameterSet& set, const Tensor& flat) const {
    const auto entry = [&](Weight weight) { return set.find(weight, index_); };
    const auto view = [&](Weight weight) { return ParameterSet::view(flat, entry(weight)); };
    const auto matrix = [&](Weight first, int64_t rows, int64_t columns) {
        return ParameterSet::matrix(flat, entry(first), rows, columns);
    };
    const auto bias = [&](Weight first, int64_t size) {
        const Entry* const e = entry(first);
        return e ? flat.slice(e->offset, {size}) : Tensor();
    };
    const int64_t q = shape_.query_heads * shape_.head_dim, qkv = q + 2 * shape_.kv_heads * shape_.head_dim;
    const bool gated = is_gated(activation_);
    const int64_t up = gated ? 2 * ffn_ : ffn_;
    Weights w;
    w.attention_norm = {view(Weight::attention_norm), view(Weight::attention_norm_bias)};
    w.qkv = matrix(Weight::query, qkv, hidden_);
    w.qkv_bias = bias(Weight::query_bias, qkv);
    w.query_norm = view(Weight::query_norm);
    w.key_norm = view(Weight::key_norm);
    w.attention_out = matrix(Weight::attention_out, hidden_, q);
    w.attention_out_bias = view(Weight::attention_out_bias);
    w.attention_post_norm = view(Weight::attention_post_norm);
    w.mlp_norm = {view(Weight::mlp_norm), view(Weight::mlp_norm_bias)};
    w.gate_up = matrix(gated ? Weight::gate : Weight::up, up, hidden_);
    w.gate_up_bias = bias(gated ? Weight::gate_bias : Weight::up_bias, up);
    w.down = matrix(Weight::down, hidden_, ffn_);
    w.down_bias = view(Weight::down_bias);
    w.mlp_post_norm = view(Weight::mlp_post_norm);
    return w;
}

AttentionShape Layer::attention_shape(int64_t batch, int64_t seq) const {
    AttentionShape shape = shape_;
    shape.batch = batch;
    shape.seq = seq;
    return shape;
}

int64_t Layer::attention_scratch(Context& ctx, DType dtype, int64_t batch, int64_t seq) const {
    return espalier::attention_scratch(ctx, dtype, attention_shape(batch, seq));
}

Tensor Layer::forward(Context& ctx, const Tensor& x, const TokenBatch& tokens, const RotaryTable& rotary,
                      const ForwardExtras& extras) const {
    const int64_t T = tokens.tokens();
    const Tensor none;
    SavedLayer* const saved = extras.saved;
    Tensor stats;  // of norms
    if (saved) saved->x = x;

    // 1  a [Tl, H] = the normed input
    // 2  a [T, H], all tokens
    const Tensor a = normed_input(ctx, x, w_.attention_norm, T, stats);
    if (saved) saved->attention.norm_stats = stats;
    if (extras.observer) extras.observer->norm_output(ctx, {Site::attention_input, index_}, tokens, a);
    // 3 to 5  o [T, q]
    const Tensor o = attend(ctx, a, tokens, rotary, extras);
    // 6  partial [T, H], this rank's part of the sum over tensor parallel ranks
    Tensor partial = ctx.empty({T, hidden_}, x.dtype());
    matmul(ctx, o, w_.attention_out, adds_output_bias() ? w_.attention_out_bias : none, partial);

    Tensor h = x, b = a;
    if (!parallel_) {
        // 7  put_out [Tl, H], the sum
        // 8  h [Tl, H] = x + what attention put out, which may be normed first
        // 9  b [Tl, H]
        // 10 b [T, H]
        if (post_norms_) {
            h = joined(ctx, x, partial, w_.attention_post_norm, saved ? &saved->attention : nullptr);
            b = normed_input(ctx, h, w_.mlp_norm, T, stats);
        } else {
            h = tensor_.reduce_scatter(ctx, partial);
            Tensor normed = ctx.empty(h.shape(), h.dtype());
            stats = ctx.empty({h.dim(0), 2}, DType::f32);
            add_norm(ctx, x, h, w_.mlp_norm.weight, w_.mlp_norm.bias, norm_, h, normed, stats);
            b = tensor_.all_gather(ctx, normed, T);
        }
        if (saved) {
            saved->after_attention = h;
            saved->mlp.norm_stats = stats;
        }
        if (extras.observer) extras.observer->norm_output(ctx, {Site::mlp_input, index_}, tokens, b);
    }

    // 11, 12  act [T, ffn]
    const Tensor act = neurons(ctx, b, tokens, extras);
    if (!extras.output && !post_norms_) return {};
    // 13 partial [T, H], in a parallel block beside attention's
    if (!parallel_) partial = ctx.empty({T, hidden_}, x.dtype());
    matmul(ctx, act, w_.down, adds_output_bias() ? w_.down_bias : none, partial,
           parallel_ ? Store::accumulate : Store::overwrite);
    // 14 put_out [Tl, H]
    // 15 out [Tl, H] = h + what the MLP put out
    Tensor out =
        joined(ctx, extras.output ? h : none, partial, w_.mlp_post_norm, saved ? &saved->mlp : nullptr);
    if (out && extras.observer) extras.observer->block(ctx, index_, tokens, x, out);
    return out;
}

Tensor Layer::normed_input(Context& ctx, const Tensor& x, const NormWeights& w, int64_t tokens,
                           Tensor& stats) const {
    Tensor out = ctx.empty(x.shape(), x.dtype());
    stats = ctx.empty({x.dim(0), 2}, DType::f32);
    norm(ctx, x, w.weight, w.bias, norm_, out, stats);
    return tensor_.all_gather(ctx, out, tokens);
}

Tensor Layer::attend(Context& ctx, const Tensor& in, const TokenBatch& tokens, const RotaryTable& rotary,
                     const ForwardExtras& extras) const {
    // 3  projected [T, q + 2 kv]
    Tensor projected = ctx.empty({in.dim(0), w_.qkv.dim(0)}, in.dtype());
    matmul(ctx, in, w_.qkv, w_.qkv_bias, projected);
    // 4  qkv [T, q + 2 kv], queries and keys normed and turned by their positions
    const auto [qkv, qk_rstd] =
        turn(ctx, projected, extras.saved ? Before::keep : Before::overwrite, tokens, rotary);
    if (extras.observer) extras.observer->rotated_qkv(ctx, index_, tokens, qkv);
    // 5  o [T, q]
    const AttentionShape shape = attention_shape(tokens.batch, tokens.seq);
    Tensor o = ctx.empty({in.dim(0), w_.attention_out.dim(1)}, in.dtype()), lse;
    if (extras.cache) {
        const auto& [cache, length] = *extras.cache;
        const Tensor queries = append(ctx, qkv, shape, *extras.cache);
        attention_cached(ctx, queries, cache->keys, cache->values, length, shape, o);
    } else {
        lse = ctx.empty({tokens.batch, shape_.query_heads, tokens.seq}, DType::f32);
        attention(ctx, qkv, tokens.starts, shape, o, lse);
    }
    if (extras.observer) extras.observer->heads(ctx, index_, tokens, o);
    if (extras.saved) {
        SavedAttention& s = extras.saved->attention;
        if (extras.keep_cheap) s.input = in;
        if (has_qk_norm()) s.projected = projected;
        if (extras.keep_cheap) s.qk_rstd = qk_rstd;
        if (extras.keep_cheap || !has_qk_norm()) s.qkv = qkv;
        s.attended = o;
        s.lse = lse;
    }
    return o;
}

Layer::TurnedHeads Layer::turn(Context& ctx, const Tensor& projected, Before then, const TokenBatch& tokens,
                               const RotaryTable& rotary) const {
    TurnedHeads out{projected, {}};
    if (has_qk_norm()) {
        if (then == Before::keep) out.qkv = ctx.empty(projected.shape(), projected.dtype());
        out.qk_rstd = ctx.empty({projected.dim(0), head_counts().normed()}, DType::f32);
        qk_norm(ctx, projected, w_.query_norm, w_.key_norm, head_counts(), *qk_norm_eps_, out.qkv,
                out.qk_rstd);
    }
    rotate(ctx, out.qkv, rotary.cosines, rotary.sines, tokens.positions, head_counts().normed(),
           shape_.head_dim, Rotation::forward);
    return out;
}

Tensor Layer::joined(Context& ctx, const Tensor& stream, const Tensor& partial, const Tensor& post_norm,
                     SavedHalf* saved) const {
    const Tensor put_out = tensor_.reduce_scatter(ctx, partial);
    Tensor out = put_out;
    if (post_norms_) {
        if (saved) out = ctx.empty(put_out.shape(), put_out.dtype());
        Tensor stats = ctx.empty({put_out.dim(0), 2}, DType::f32);
        norm(ctx, put_out, post_norm, {}, norm_, out, stats);
        if (saved) {
            saved->put_out = put_out;
            saved->post_stats = stats;
        }
    }
    if (!stream) return {};
    add(ctx, stream, out, out);
    return out;
}

Tensor Layer::neurons(Context& ctx, const Tensor& in, const TokenBatch& tokens,
                      const ForwardExtras& extras) const {
    // 11 u [T, 2 ffn] or [T, ffn]
    Tensor u = ctx.empty({in.dim(0), w_.gate_up.dim(0)}, in.dtype());
    matmul(ctx, in, w_.gate_up, w_.gate_up_bias, u);
    // 12 act [T, ffn]
    Tensor act = ctx.empty({in.dim(0), ffn_}, in.dtype());
    Tensor moments;
    if (extras.observer && extras.observer->takes_neuron_moments()) {
        moments = ctx.empty({tokens.batch, 3, ffn_}, DType::f64);
        activate_with_moments(ctx, activation_, u, tokens.batch, act, moments);
    } else {
        activate(ctx, activation_, u, act);
    }
    if (extras.observer) extras.observer->neurons(ctx, index_, tokens, u, act, moments);
    if (extras.saved) {
        SavedMlp& s = extras.saved->mlp;
        if (extras.keep_cheap && !parallel_) s.input = in;
        s.up = u;
        if (extras.keep_cheap) s.activated = act;
    }
    return act;
}

Tensor Layer::backward(Context& ctx, const Tensor& d_out, const TokenBatch& tokens, const RotaryTable& rotary,
                       const SavedLayer& saved, Injector* injector) {
    const int64_t T = tokens.tokens();
    // In a parallel block it serves both halves.
    Tensor a = saved.attention.input;
    const auto attention_input = [&] {
        Tensor stats;  // the saved ones are the same
        if (!a) a = normed_input(ctx, saved.x, w_.attention_norm, T, stats);
        return a;
    };
    const auto mlp_input = [&] {
        if (parallel_) return attention_input();
        Tensor stats;
        return saved.mlp.input ? saved.mlp.input
                               : normed_input(ctx, saved.after_attention, w_.mlp_norm, T, stats);
    };
    // The residual stream's gradient stays in d_out's memory from step to step: what is gathered, on one rank
    // the very same tensor, has been used before the norm's gradient is added.
    Tensor d_stream = d_out;

    // 15, 14  d_full [T, H] of what the MLP put out
    Tensor d_full = joined_backward(ctx, d_stream, T, saved.mlp, w_.mlp_post_norm, g_.mlp_post_norm);
    // 13 to 11
    Tensor d_in = ctx.empty({T, hidden_}, d_out.dtype());
    comm::Arriving sum = neurons_backward(ctx, d_full, saved.mlp, mlp_input, d_in);
    if (!parallel_) {
        // 10 db [Tl, H], the sum
        Tensor db = sum.take();
        if (injector) injector->norm_output(ctx, {Site::mlp_input, index_}, db);
        // 9  d_stream +=
        norm_backward(ctx, db, saved.after_attention, w_.mlp_norm.weight, saved.mlp.norm_stats, norm_,
                      d_stream, g_.mlp_norm.weight, g_.mlp_norm.bias);
        // 8, 7  d_full [T, H] of what attention put out; in a parallel block the MLP's
        d_full = joined_backward(ctx, d_stream, T, saved.attention, w_.attention_post_norm,
                                 g_.attention_post_norm);
        d_in = ctx.empty({T, hidden_}, d_out.dtype());
    }
    // 6 to 3
    sum = attend_backward(ctx, d_full, tokens, rotary, saved.attention, attention_input, d_in);
    // 2  da [Tl, H], the sum
    Tensor da = sum.take();
    if (injector) injector->norm_output(ctx, {Site::attention_input, index_}, da);
    // 1  d_stream +=
    norm_backward(ctx, da, saved.x, w_.attention_norm.weight, saved.attention.norm_stats, norm_, d_stream,
                  g_.attention_norm.weight, g_.attention_norm.bias);
    return d_stream;
}

Tensor Layer::joined_backward(Context& ctx, const Tensor& d_stream, int64_t tokens, const SavedHalf& saved,
                              const Tensor& post_norm, Tensor& d_post_norm) const {
    Tensor d_put_out = d_stream, no_bias;
    if (post_norms_) {
        d_put_out = ctx.zeros(d_stream.shape(), d_stream.dtype());
        norm_backward(ctx, d_stream, saved.put_out, post_norm, saved.post_stats, norm_, d_put_out,
                      d_post_norm, no_bias);
    }
    return tensor_.all_gather(ctx, d_put_out, tokens);
}

comm::Arriving Layer::neurons_backward(Context& ctx, const Tensor& d_full, const SavedMlp& saved,
                                       const std::function<Tensor()>& input, Tensor& d_in) {
    const DType dtype = d_full.dtype();
    // 13 d down, d down_bias +=, d_act =
    Tensor act = saved.activated, d_act = ctx.empty({d_full.dim(0), ffn_}, dtype);
    if (!act) {
        act = ctx.empty({d_full.dim(0), ffn_}, dtype);
        activate(ctx, activation_, saved.up, act);
    }
    matmul_backward_weight(ctx, d_full, act, g_.down);
    if (g_.down_bias && adds_output_bias()) bias_backward(ctx, d_full, g_.down_bias);
    matmul_backward_input(ctx, d_full, w_.down, d_act);
    act = {};
    // 12 du =
    Tensor du = ctx.empty(saved.up.shape(), dtype);
    activate_backward(ctx, activation_, d_act, saved.up, du);
    d_act = {};
    // 11 d_in =, which is summed over ranks beside d gate, d up, their biases +=
    const Tensor in = input();
    matmul_backward_input(ctx, du, w_.gate_up, d_in);
    comm::Arriving sum;
    if (!parallel_) sum = tensor_.begin_reduce_scatter(ctx, d_in);
    matmul_backward_weight(ctx, du, in, g_.gate_up);
    if (g_.gate_up_bias) bias_backward(ctx, du, g_.gate_up_bias);
    return sum;
}

comm::Arriving Layer::attend_backward(Context& ctx, const Tensor& d_full, const TokenBatch& tokens,
                                      const RotaryTable& rotary, const SavedAttention& saved,
                                      const std::function<Tensor()>& input, Tensor& d_in) {
    const DType dtype = d_full.dtype();
    // 6  d attention_out, d attention_out_bias +=, d_o =
    matmul_backward_weight(ctx, d_full, saved.attended, g_.attention_out);
    if (g_.attention_out_bias && adds_output_bias()) bias_backward(ctx, d_full, g_.attention_out_bias);
    Tensor d_o = ctx.empty(saved.attended.shape(), dtype);
    matmul_backward_input(ctx, d_full, w_.attention_out, d_o);
    // 5  d_qkv =
    TurnedHeads heads{saved.qkv, saved.qk_rstd};
    if (!heads.qkv) heads = turn(ctx, saved.projected, Before::keep, tokens, rotary);
    Tensor d_qkv = ctx.empty(heads.qkv.shape(), dtype);
    attention_backward(ctx, d_o, heads.qkv, tokens.starts, saved.attended, saved.lse,
                       attention_shape(tokens.batch, tokens.seq), d_qkv);
    heads.qkv = {};
    // 4  turned back, d query_norm, d key_norm +=, d_qkv = that of the projection
    rotate(ctx, d_qkv, rotary.cosines, rotary.sines, tokens.positions, head_counts().normed(),
           shape_.head_dim, Rotation::backward);
    if (has_qk_norm())
        qk_norm_backward(ctx, saved.projected, w_.query_norm, w_.key_norm, head_counts(), heads.qk_rstd,
                         d_qkv, g_.query_norm, g_.key_norm);
    // 3  d_in = or +=, which is summed over ranks beside d query, d key, d value, their biases +=
    const Tensor in = input();
    matmul_backward_input(ctx, d_qkv, w_.qkv, d_in, parallel_ ? Store::accumulate : Store::overwrite);
    comm::Arriving sum = tensor_.begin_reduce_scatter(ctx, d_in);
    matmul_backward_weight(ctx, d_qkv, in, g_.qkv);
    if (g_.qkv_bias) bias_backward(ctx, d_qkv, g_.qkv_bias);
    return sum;
}

}  // namespace espalier::model
