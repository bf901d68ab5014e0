// What a transformer is made of: the numbers and choices from which everything else about a model follows.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/activation.hpp"
#include "kernels/norm.hpp"
#include "src/core/names.hpp"

namespace espalier::model {

enum class Family { llama, mistral, nemotron, qwen2, qwen3, gemma, gemma2, phi };
/// As model_type in transformers' files.
inline constexpr std::array family_names{
    Named{Family::llama, "llama"},   Named{Family::mistral, "mistral"}, Named{Family::nemotron, "nemotron"},
    Named{Family::qwen2, "qwen2"},   Named{Family::qwen3, "qwen3"},     Named{Family::gemma, "gemma"},
    Named{Family::gemma2, "gemma2"}, Named{Family::phi, "phi"}};
std::string_view to_string(Family family);

/// One layer's widths, in which the layers of a pruned model may differ, and how far it sees.
struct LayerShape {
    int64_t query_heads = 0;
    int64_t kv_heads = 0;
    int64_t ffn = 0;     ///< neurons of the MLP
    int64_t window = 0;  ///< sliding attention window, 0: none
    auto operator<=>(const LayerShape&) const = default;
};

/// Stretching of the rotary frequencies for long contexts (formulas: rotary_table.hpp).
struct RotaryScaling {
    enum class Kind { none, linear, llama3, yarn };
    Kind kind = Kind::none;
    double factor = 1;
    double low_frequency_factor = 1;
    double high_frequency_factor = 4;
    int64_t original_positions = 8192;
    double beta_fast = 32;  ///< yarn: rotations over the original positions from which on a pair is kept,
    double beta_slow = 1;   ///< and up to which it is stretched by the whole factor
    double attention_factor = 1;  ///< yarn: of turned queries and turned keys
    bool truncate = true;         ///< yarn: whether the bounds between pairs are whole numbers
    bool operator==(const RotaryScaling&) const = default;
};

/// What goes with a model beside the function that it computes.
struct Conventions {
    double init_std = 0.02;  ///< of weights that are drawn
    std::optional<int64_t> bos, pad;
    std::vector<int64_t> eos;  ///< each of them ends a text; the first is what a document ends with
    bool operator==(const Conventions&) const = default;
};

struct Architecture {
    Family family = Family::llama;
    int64_t vocab = 0;
    int64_t hidden = 0;
    int64_t head_dim = 0;  ///< never hidden / heads: pruned models have both as they like
    std::vector<LayerShape> layers;
    Activation activation = Activation::swiglu;
    NormOptions norm;
    bool norm_bias = false;
    /// Attention and MLP read the output of one norm, side by side, and both join the residual stream (Phi).
    bool parallel_block = false;
    /// What attention and MLP put out is normed too, before it joins the residual stream (Gemma 2).
    bool post_norms = false;
    /// Epsilon of the RMSNorm of each query head and each key head before it is turned; without, there is
    /// none.
    std::optional<float> qk_norm_eps;
    bool qkv_bias = false;
    bool attention_out_bias = false;
    bool mlp_bias = false;
    bool head_bias = false;
    bool tied = false;  ///< the head is the token embedding
    /// Of embeddings as they enter the residual stream, rounded to the type that they are computed in. A cut
    /// model has its source's, so that what its layers add weighs as much beside them.
    double embedding_scale = 1;
    /// Scores are scaled by its ^-1/2 ("query_pre_attn_scalar"), whatever a cut makes of head_dim; 0: by
    /// head_dim^-1/2.
    int64_t query_scalar = 0;
    float attention_soft_cap = 0;  ///< scores become cap tanh(score / cap); 0: they stay
    float final_soft_cap = 0;      ///< and so do logits
    int64_t rotary_dim = 0;        ///< leading dims of a head that are turned, even
    double rotary_base = 10000;
    RotaryScaling rotary_scaling;
    int64_t max_positions = 0;
    Conventions conventions;

    int64_t depth() const { return static_cast<int64_t>(layers.size()); }
    /// Whether all layers have the same widths, as public model formats demand.
    bool uniform() const;
    /// How many layers see a window alone.
    int64_t windowed_layers() const;
    /// Query heads that share a KV head of a layer; widths are checked to divide.
    int64_t group(int64_t layer) const;
    bool operator==(const Architecture&) const = default;
};

/// Of all layers the least, and the most, of a width.
int64_t narrowest(const Architecture& a, int64_t LayerShape::*width);
int64_t widest(const Architecture& a, int64_t LayerShape::*width);
/// Into how many parts every layer's heads and neurons, and the vocabulary, can be split.
int64_t most_parts(const Architecture& a);

/// Whether both are the same function of the same weights, whatever their conventions.
bool same_function(Architecture a, const Architecture& b);

/// Throws UserError, naming `source` and `field`, unless a model can have so many layers.
void check_depth(int64_t depth, const std::string& source, std::string_view field);

/// Throws UserError, naming `source` and the field, when the numbers cannot be a model.
void check(const Architecture& a, const std::string& source);

/// Keys that a query of a layer sees, on average over a sequence of s: s / 2 under a causal mask,
/// w (1 - w / (2 s)) in a window of w < s.
double mean_visible_keys(const LayerShape& layer, int64_t seq_len);

/// FLOPs of one token's forward pass at a sequence length: every matrix product (the head's too), and causal
/// attention (4 mean_visible_keys q_heads head_dim per layer). The backward pass is twice that.
double forward_flops_per_token(const Architecture& a, int64_t seq_len, int64_t first_layer = 0);
/// Of which the matrix products with weights, of one layer and of the output projection.
double layer_product_flops(const Architecture& a, int64_t layer);
double head_product_flops(const Architecture& a);

}  // namespace espalier::model
