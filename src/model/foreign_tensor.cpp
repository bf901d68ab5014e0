#include "src/model/foreign_tensor.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "src/core/error.hpp"
#include "src/core/names.hpp"
#include "src/model/family.hpp"

namespace espalier::model {
namespace {

/// What GGUF does to a weight beyond naming it.
enum class Stored { as_it_is, rotated, as_gain };
using enum Stored;

/// Names of a weight; those in a layer come after "model.layers.<layer>." and "blk.<layer>.".
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): in the order that rows are read in
struct Row {
    Weight weight;
    const char* hugging_face;
    const char* gguf;
    Stored stored = as_it_is;
};

// clang-format off
constexpr Row rows[] = {
    {Weight::token_embedding,     "model.embed_tokens.weight",       "token_embd.weight"},
    {Weight::attention_norm,      "input_layernorm.weight",          "attn_norm.weight", as_gain},
    {Weight::attention_norm_bias, "input_layernorm.bias",            "attn_norm.bias"},
    {Weight::query,               "self_attn.q_proj.weight",         "attn_q.weight", rotated},
    {Weight::key,                 "self_attn.k_proj.weight",         "attn_k.weight", rotated},
    {Weight::value,               "self_attn.v_proj.weight",         "attn_v.weight"},
    {Weight::query_bias,          "self_attn.q_proj.bias",           "attn_q.bias", rotated},
    {Weight::key_bias,            "self_attn.k_proj.bias",           "attn_k.bias", rotated},
    {Weight::value_bias,          "self_attn.v_proj.bias",           "attn_v.bias"},
    {Weight::query_norm,          "self_attn.q_norm.weight",         "attn_q_norm.weight"},
    {Weight::key_norm,            "self_attn.k_norm.weight",         "attn_k_norm.weight"},
    {Weight::attention_out,       "self_attn.o_proj.weight",         "attn_output.weight"},
    {Weight::attention_out_bias,  "self_attn.o_proj.bias",           "attn_output.bias"},
    {Weight::attention_post_norm, "post_attention_layernorm.weight", "post_attention_norm.weight", as_gain},
    {Weight::mlp_norm,            "post_attention_layernorm.weight", "ffn_norm.weight", as_gain},
    {Weight::mlp_norm_bias,       "post_attention_layernorm.bias",   "ffn_norm.bias"},
    {Weight::gate,                "mlp.gate_proj.weight",            "ffn_gate.weight"},
    {Weight::up,                  "mlp.up_proj.weight",              "ffn_up.weight"},
    {Weight::gate_bias,           "mlp.gate_proj.bias",              "ffn_gate.bias"},
    {Weight::up_bias,             "mlp.up_proj.bias",                "ffn_up.bias"},
    {Weight::down,                "mlp.down_proj.weight",            "ffn_down.weight"},
    {Weight::down_bias,           "mlp.down_proj.bias",              "ffn_down.bias"},
    {Weight::mlp_post_norm,       "post_feedforward_layernorm.weight", "post_ffw_norm.weight", as_gain},
    {Weight::final_norm,          "model.norm.weight",               "output_norm.weight", as_gain},
    {Weight::final_norm_bias,     "model.norm.bias",                 "output_norm.bias"},
    {Weight::head,                "lm_head.weight",                  "output.weight"},
    {Weight::head_bias,           "lm_head.bias",                    "output.bias"},
};
/// What transformers' Phi calls otherwise.
constexpr Named<Weight> phi_names[] = {
    {Weight::attention_out,      "self_attn.dense.weight"},       {Weight::up,              "mlp.fc1.weight"},
    {Weight::attention_out_bias, "self_attn.dense.bias"},         {Weight::up_bias,         "mlp.fc1.bias"},
    {Weight::final_norm,         "model.final_layernorm.weight"}, {Weight::down,            "mlp.fc2.weight"},
    {Weight::final_norm_bias,    "model.final_layernorm.bias"},   {Weight::down_bias,       "mlp.fc2.bias"},
};
// clang-format on

/// llama.cpp's converter permutes the rows of these families' queries and keys.
bool stores_rotary_pairs(Family family) {
    return family == Family::llama || family == Family::mistral;
}

const Row& row_of(const Parameter& p) {
    const auto* row =
        std::find_if(std::begin(rows), std::end(rows), [&](const Row& r) { return r.weight == p.weight; });
    if (row == std::end(rows)) throw InternalError(fmt::format("{} has no foreign name", p.name));
    return *row;
}

std::string full_name(const Parameter& p, const char* layers, const std::string& name) {
    return p.layer < 0 ? name : fmt::format("{}.{}.{}", layers, p.layer, name);
}

std::string hugging_face_name(const Architecture& a, const Parameter& p) {
    // Where what attention puts out is normed, that norm has the name which elsewhere is the MLP's.
    if (a.post_norms && p.weight == Weight::mlp_norm) return "pre_feedforward_layernorm.weight";
    if (a.family == Family::phi) {
        const auto* renamed = std::find_if(std::begin(phi_names), std::end(phi_names),
                                           [&](const auto& n) { return n.value == p.weight; });
        if (renamed != std::end(phi_names)) return std::string(renamed->name);
    }
    return row_of(p).hugging_face;
}

Shape foreign_shape(const Parameter& p) {
    Shape shape;
    for (size_t i = 0; i < p.axes.size(); ++i) {
        if (p.axes[i] == Axis::head_dim && i > 0) {
            shape.back() *= p.shape[i];
        } else {
            shape.push_back(p.shape[i]);
        }
    }
    return shape;
}

/// A tensor that holds several weights, one after another, and where one of them stands in it.
struct Fused {
    const char* hugging_face;  // its name, in a layer
    const char* gguf;          // null: it holds no more than one there
    const char* end;           // of both names
    int64_t first_row, rows;
};
std::optional<Fused> fused(const Architecture& a, const Parameter& p) {
    if (p.layer < 0) return std::nullopt;
    const LayerShape& l = a.layers.at(static_cast<size_t>(p.layer));
    const int64_t q = l.query_heads * a.head_dim, kv = l.kv_heads * a.head_dim;
    const auto in_qkv = [&](const char* end, int64_t first_row) {
        return Fused{"self_attn.qkv_proj", "attn_qkv", end, first_row, q + 2 * kv};
    };
    const auto in_gate_up = [&](int64_t first_row) {
        return Fused{"mlp.gate_up_proj", nullptr, "weight", first_row, 2 * l.ffn};
    };
    switch (p.weight) {
        case Weight::query:
            return in_qkv("weight", 0);
        case Weight::key:
            return in_qkv("weight", q);
        case Weight::value:
            return in_qkv("weight", q + kv);
        case Weight::query_bias:
            return in_qkv("bias", 0);
        case Weight::key_bias:
            return in_qkv("bias", q);
        case Weight::value_bias:
            return in_qkv("bias", q + kv);
        case Weight::gate:
            return in_gate_up(0);
        case Weight::up:
            return in_gate_up(l.ffn);
        default:
            return std::nullopt;
    }
}

/// The part of a tensor of this name that is the parameter.
ForeignTensor part_of(std::string name, const Parameter& p, const Fused& place) {
    ForeignTensor out{std::move(name), foreign_shape(p)};
    out.shape[0] = place.rows;
    out.first_row = place.first_row;
    return out;
}

/// The last weight that what a layer adds to the residual stream has been through.
bool joins_stream(const Architecture& a, Weight weight) {
    if (a.post_norms) return weight == Weight::attention_post_norm || weight == Weight::mlp_post_norm;
    return weight == Weight::attention_out || weight == Weight::attention_out_bias ||
           weight == Weight::down || weight == Weight::down_bias;
}

}  // namespace

ForeignTensor hugging_face_tensor(const Architecture& a, const Parameter& p, Projections projections) {
    if (const auto place = projections == Projections::fused ? fused(a, p) : std::nullopt) {
        return part_of(fmt::format("model.layers.{}.{}.{}", p.layer, place->hugging_face, place->end), p,
                       *place);
    }
    ForeignTensor out{full_name(p, "model.layers", hugging_face_name(a, p)), foreign_shape(p)};
    if (is_gemma(a.family) && joins_stream(a, p.weight)) {
        out.factor = std::sqrt(static_cast<double>(a.hidden)) / a.embedding_scale;
        if (a.post_norms && a.norm.gain == Gain::one_plus_weight) out.added = out.factor - 1;
    }
    return out;
}

ForeignTensor gguf_tensor(const Architecture& a, const Parameter& p, Projections projections) {
    const auto place = projections == Projections::fused ? fused(a, p) : std::nullopt;
    if (place && place->gguf)
        return part_of(fmt::format("blk.{}.{}.{}", p.layer, place->gguf, place->end), p, *place);
    const Row& row = row_of(p);
    ForeignTensor out{full_name(p, "blk", row.gguf), foreign_shape(p)};
    if (row.stored == rotated && stores_rotary_pairs(a.family)) out.interleaved_dim = a.head_dim;
    if (row.stored == as_gain && a.norm.gain == Gain::one_plus_weight) out.added = 1;
    return out;
}

bool is_ignored_tensor(const std::string& name) {
    for (const char* end : {".rotary_emb.inv_freq", ".attn.masked_bias", ".attn.bias", "rope_freqs.weight"}) {
        if (name.ends_with(end)) return true;
    }
    return false;
}

int64_t foreign_row(const ForeignTensor& t, int64_t row) {
    if (t.interleaved_dim == 0) return row;
    const int64_t d = t.interleaved_dim, head = row / d, in_head = row % d;
    return head * d + 2 * (in_head % (d / 2)) + in_head / (d / 2);
}

}  // namespace espalier::model
