// One transformer block on one rank: forward as numbered steps, backward as their mirror, in two halves,
// attention and MLP, between norm and residual sum. In a parallel block (Wang and Komatsuzaki 2021) the MLP
// reads what attention reads: steps 7 to 10 fall away.
#pragma once

#include <functional>
#include <optional>

#include "kernels/attention.hpp"
#include "kernels/qk_norm.hpp"
#include "src/comm/communicator.hpp"
#include "src/model/observer.hpp"
#include "src/model/parameter_set.hpp"
#include "src/model/rotary_table.hpp"

namespace espalier::model {

/// What the backward pass of a layer's half needs of its forward pass.
///   T tokens, Tl = this rank's part of them (sequence parallelism), H hidden, local head counts and widths
struct SavedHalf {
    Tensor norm_stats;  // [Tl, 2]  mean, rstd of the norm before it; empty where a parallel block has none
    Tensor input;       // [T, H]   normed; empty where it is to be made again, or is the other half's
    Tensor put_out;     // [Tl, H]  before it is normed; empty where it is not
    Tensor post_stats;  // [Tl, 2]  of that norm
};
struct SavedAttention : SavedHalf {
    Tensor projected;  // [T, (q + 2 kv) head_dim]  before heads are normed; empty where none are
    Tensor qk_rstd;    // [T, q + kv]               of those norms; empty where they are to be made again
    Tensor qkv;        // [T, (q + 2 kv) head_dim]  as attention takes them; empty as qk_rstd, of normed heads
    Tensor attended;   // [T, q head_dim]
    Tensor lse;        // [batch, q, seq]
};
struct SavedMlp : SavedHalf {
    Tensor up;         // [T, 2 ffn] or [T, ffn]  before the activation
    Tensor activated;  // [T, ffn]                after it; empty where it is to be made again
};
struct SavedLayer {
    Tensor x;  // [Tl, H]  the layer's input
    SavedAttention attention;
    Tensor after_attention;  // [Tl, H]  the residual stream; empty in a parallel block
    SavedMlp mlp;
};

/// Keys and values of the tokens so far, of one sequence.
struct LayerCache {
    Tensor keys, values;  // [capacity, kv head_dim]
};
struct CacheUse {
    LayerCache* cache;
    int64_t length;  ///< valid rows, the new tokens included
};

/// What a forward pass does beside computing its result.
struct ForwardExtras {
    SavedLayer* saved = nullptr;
    bool keep_cheap = false;  ///< whether saved also gets what is cheap to compute again
    bool output = true;       ///< whether there is to be a result: without, the pass ends with what it saves
    Observer* observer = nullptr;
    const CacheUse* cache = nullptr;
};

class Layer {
public:
    /// Handles into `set`; `gradients` is a flat f32 buffer with the same offsets, or empty.
    Layer(const Architecture& a, int64_t index, TensorPart part, const ParameterSet& set,
          const Tensor& gradients, comm::Communicator tensor);

    /// x [Tl, H] -> [Tl, H], or empty where extras want no output. Collective over the tensor parallel ranks.
    Tensor forward(Context& ctx, const Tensor& x, const TokenBatch& tokens, const RotaryTable& rotary,
                   const ForwardExtras& extras) const;
    /// d_out [Tl, H], whose elements it may change -> dx [Tl, H]; every weight's gradient +=.
    Tensor backward(Context& ctx, const Tensor& d_out, const TokenBatch& tokens, const RotaryTable& rotary,
                    const SavedLayer& saved, Injector* injector = nullptr);

    int64_t index() const { return index_; }
    /// Bytes that attention over such a batch takes for a while (kernels/attention.hpp).
    int64_t attention_scratch(Context& ctx, DType dtype, int64_t batch, int64_t seq) const;
    /// Elements of a row of the key and value cache.
    int64_t cache_width() const { return shape_.kv_heads * shape_.head_dim; }

private:
    /// A norm's weights, or their gradients.
    struct NormWeights {
        Tensor weight, bias;
    };
    struct Weights {
        NormWeights attention_norm;                // [H]
        Tensor qkv, qkv_bias;                      // [(q + 2 kv) head_dim, H]
        Tensor query_norm, key_norm;               // [head_dim]
        Tensor attention_out, attention_out_bias;  // [H, q head_dim]
        Tensor attention_post_norm;                // [H]
        NormWeights mlp_norm;                      // [H]
        Tensor gate_up, gate_up_bias;              // [2 ffn, H] or [ffn, H]
        Tensor down, down_bias;                    // [H, ffn]
        Tensor mlp_post_norm;                      // [H]
    };
    Weights weights(const ParameterSet& set, const Tensor& flat) const;
    AttentionShape attention_shape(int64_t batch, int64_t seq) const;

    struct TurnedHeads {
        Tensor qkv;      // [T, (q + 2 kv) head_dim]
        Tensor qk_rstd;  // [T, q + kv], empty where heads are not normed
    };
    /// What becomes of an intermediate result that the next is made of.
    enum class Before { keep, overwrite };

    // Forward; numbers are the steps of layer.cpp.

    /// 1, 2: x [Tl, H] normed, and gathered: [T, H].
    Tensor normed_input(Context& ctx, const Tensor& x, const NormWeights& w, int64_t tokens,
                        Tensor& stats) const;
    /// 3 to 5: the gathered input [T, H] -> [T, q head_dim].
    Tensor attend(Context& ctx, const Tensor& in, const TokenBatch& tokens, const RotaryTable& rotary,
                  const ForwardExtras& extras) const;
    /// 4: queries and keys as attention takes them: normed head by head, where the model does that, and
    /// turned by their positions. In the projection's own memory unless heads are normed and it is kept.
    TurnedHeads turn(Context& ctx, const Tensor& projected, Before then, const TokenBatch& tokens,
                     const RotaryTable& rotary) const;
    /// 7, 8 and 14, 15: the sum over ranks of what a half put out, [T, H], in the residual stream: normed
    /// first, where the model does that; [Tl, H]. Without a stream, where nothing is to come of it but what
    /// is saved: empty.
    Tensor joined(Context& ctx, const Tensor& stream, const Tensor& partial, const Tensor& post_norm,
                  SavedHalf* saved) const;
    /// 11, 12: the gathered input [T, H] -> [T, ffn].
    Tensor neurons(Context& ctx, const Tensor& in, const TokenBatch& tokens,
                   const ForwardExtras& extras) const;

    // Backward: each of them upwards, weights' gradients +=.

    /// 15, 14 and 8, 7: from the stream's gradient [Tl, H] to that of what every rank put out, [T, H].
    Tensor joined_backward(Context& ctx, const Tensor& d_stream, int64_t tokens, const SavedHalf& saved,
                           const Tensor& post_norm, Tensor& d_post_norm) const;
    /// 13 to 11: d_in [T, H] = this rank's part of the input's gradient. Begins to sum it over ranks, but in
    /// a parallel block, where attention adds to it. `input` makes the half's input.
    comm::Arriving neurons_backward(Context& ctx, const Tensor& d_full, const SavedMlp& saved,
                                    const std::function<Tensor()>& input, Tensor& d_in);
    /// 6 to 3: d_in = that of attention, in a parallel block +=. Begins to sum it over ranks.
    comm::Arriving attend_backward(Context& ctx, const Tensor& d_full, const TokenBatch& tokens,
                                   const RotaryTable& rotary, const SavedAttention& saved,
                                   const std::function<Tensor()>& input, Tensor& d_in);
    bool has_qk_norm() const { return qk_norm_eps_.has_value(); }
    HeadCounts head_counts() const { return {shape_.query_heads, shape_.kv_heads}; }
    /// Biases of projections that are summed over ranks count once: on rank 0.
    bool adds_output_bias() const { return tensor_.rank() == 0; }

    int64_t index_;
    int64_t hidden_;
    NormOptions norm_;
    bool parallel_;
    bool post_norms_;
    std::optional<float> qk_norm_eps_;
    Activation activation_;
    AttentionShape shape_;  // heads of this rank
    int64_t ffn_;           // neurons of this rank
    comm::Communicator tensor_;
    Weights w_;
    Weights g_;
};

}  // namespace espalier::model
