#include "src/model/parameters.hpp"

#include <algorithm>

#include "src/core/names.hpp"

namespace espalier::model {
namespace {

/// A weight's row before it is repeated for every layer.
struct Row {
    Weight weight;
    const char* name;  // {} is the layer
    std::vector<Axis> axes;
    int split;
    Init init;
    Decay decay;
    bool (*present)(const Architecture&);
};

constexpr auto always = [](const Architecture&) { return true; };
constexpr auto mlp_norm = [](const Architecture& a) { return !a.parallel_block; };
constexpr auto mlp_norm_bias = [](const Architecture& a) { return a.norm_bias && !a.parallel_block; };
constexpr auto norm_bias = [](const Architecture& a) { return a.norm_bias; };
constexpr auto qkv_bias = [](const Architecture& a) { return a.qkv_bias; };
constexpr auto qk_norm = [](const Architecture& a) { return a.qk_norm_eps.has_value(); };
constexpr auto out_bias = [](const Architecture& a) { return a.attention_out_bias; };
constexpr auto mlp_bias = [](const Architecture& a) { return a.mlp_bias; };
constexpr auto gated = [](const Architecture& a) { return is_gated(a.activation); };
constexpr auto gated_bias = [](const Architecture& a) { return is_gated(a.activation) && a.mlp_bias; };
constexpr auto post_norms = [](const Architecture& a) { return a.post_norms; };
constexpr auto head_bias = [](const Architecture& a) { return a.head_bias; };
constexpr auto untied = [](const Architecture& a) { return !a.tied; };

using enum Axis;
using enum Decay;

constexpr std::array axis_table{Named{vocab, "vocab"},           Named{hidden, "hidden"},
                                Named{query_head, "query_head"}, Named{kv_head, "kv_head"},
                                Named{head_dim, "head_dim"},     Named{ffn, "ffn"}};

// clang-format off
const std::vector<Row> before_layers = {
    {Weight::token_embedding,     "token_embedding",             {vocab, hidden},                0, Init::normal,   yes, always},
};
const std::vector<Row> per_layer = {
    {Weight::attention_norm,      "layers.{}.attention_norm",      {hidden},                      -1, Init::identity, no,  always},
    {Weight::attention_norm_bias, "layers.{}.attention_norm_bias", {hidden},                      -1, Init::zeros,    no,  norm_bias},
    {Weight::query,               "layers.{}.query",               {query_head, head_dim, hidden}, 0, Init::normal,   yes, always},
    {Weight::key,                 "layers.{}.key",                 {kv_head, head_dim, hidden},    0, Init::normal,   yes, always},
    {Weight::value,               "layers.{}.value",               {kv_head, head_dim, hidden},    0, Init::normal,   yes, always},
    {Weight::query_bias,          "layers.{}.query_bias",          {query_head, head_dim},         0, Init::zeros,    no,  qkv_bias},
    {Weight::key_bias,            "layers.{}.key_bias",            {kv_head, head_dim},            0, Init::zeros,    no,  qkv_bias},
    {Weight::value_bias,          "layers.{}.value_bias",          {kv_head, head_dim},            0, Init::zeros,    no,  qkv_bias},
    {Weight::query_norm,          "layers.{}.query_norm",          {head_dim},                    -1, Init::identity, no,  qk_norm},
    {Weight::key_norm,            "layers.{}.key_norm",            {head_dim},                    -1, Init::identity, no,  qk_norm},
    {Weight::attention_out,       "layers.{}.attention_out",       {hidden, query_head, head_dim}, 1, Init::scaled,   yes, always},
    {Weight::attention_out_bias,  "layers.{}.attention_out_bias",  {hidden},                      -1, Init::zeros,    no,  out_bias},
    {Weight::attention_post_norm, "layers.{}.attention_post_norm", {hidden},                      -1, Init::identity, no,  post_norms},
    {Weight::mlp_norm,            "layers.{}.mlp_norm",            {hidden},                      -1, Init::identity, no,  mlp_norm},
    {Weight::mlp_norm_bias,       "layers.{}.mlp_norm_bias",       {hidden},                      -1, Init::zeros,    no,  mlp_norm_bias},
    {Weight::gate,                "layers.{}.gate",                {ffn, hidden},                  0, Init::normal,   yes, gated},
    {Weight::up,                  "layers.{}.up",                  {ffn, hidden},                  0, Init::normal,   yes, always},
    {Weight::gate_bias,           "layers.{}.gate_bias",           {ffn},                          0, Init::zeros,    no,  gated_bias},
    {Weight::up_bias,             "layers.{}.up_bias",             {ffn},                          0, Init::zeros,    no,  mlp_bias},
    {Weight::down,                "layers.{}.down",                {hidden, ffn},                  1, Init::scaled,   yes, always},
    {Weight::down_bias,           "layers.{}.down_bias",           {hidden},                      -1, Init::zeros,    no,  mlp_bias},
    {Weight::mlp_post_norm,       "layers.{}.mlp_post_norm",       {hidden},                      -1, Init::identity, no,  post_norms},
};
const std::vector<Row> after_layers = {
    {Weight::final_norm,          "final_norm",                    {hidden},                      -1, Init::identity, no,  always},
    {Weight::final_norm_bias,     "final_norm_bias",               {hidden},                      -1, Init::zeros,    no,  norm_bias},
    {Weight::head,                "head",                          {vocab, hidden},                0, Init::normal,   yes, untied},
    {Weight::head_bias,           "head_bias",                     {vocab},                        0, Init::zeros,    no,  head_bias},
};
// clang-format on

int64_t length(const Architecture& a, int64_t layer, Axis axis) {
    switch (axis) {
        case vocab:
            return a.vocab;
        case hidden:
            return a.hidden;
        case head_dim:
            return a.head_dim;
        case query_head:
            return a.layers.at(static_cast<size_t>(layer)).query_heads;
        case kv_head:
            return a.layers.at(static_cast<size_t>(layer)).kv_heads;
        case ffn:
            return a.layers.at(static_cast<size_t>(layer)).ffn;
    }
    throw InternalError("unknown axis");
}

void append(std::vector<Parameter>& out, const Architecture& a, const std::vector<Row>& rows, int64_t layer) {
    for (const Row& row : rows) {
        if (!row.present(a)) continue;
        Shape shape;
        for (const Axis axis : row.axes) shape.push_back(length(a, layer, axis));
        out.push_back({row.weight, layer, fmt::format(fmt::runtime(row.name), layer), row.axes,
                       std::move(shape), row.split, row.init, row.decay});
    }
}

Box box_of(const Parameter& p, Range range) {
    Box box = whole(p.shape);
    if (p.split < 0) return box;
    box.offset[p.split] = range.begin;
    box.count[p.split] = range.size();
    return box;
}

}  // namespace

std::string_view to_string(Axis axis) {
    return name_of(axis_table, axis);
}

std::vector<std::string> Parameter::axis_names() const {
    std::vector<std::string> names;
    for (const Axis axis : axes) names.emplace_back(to_string(axis));
    return names;
}

std::vector<Parameter> parameters(const Architecture& a) {
    std::vector<Parameter> out;
    append(out, a, before_layers, -1);
    for (int64_t layer = 0; layer < a.depth(); ++layer) append(out, a, per_layer, layer);
    append(out, a, after_layers, -1);
    return out;
}

int64_t parameter_count(const Architecture& a) {
    int64_t count = 0;
    for (const auto& p : parameters(a)) count += p.size();
    return count;
}

Range local_range(const Architecture& a, int64_t layer, Axis axis, TensorPart part) {
    switch (axis) {
        case vocab:
        case query_head:
        case ffn:
            return split_evenly(length(a, layer, axis), part.size, part.rank);
        case kv_head: {
            const Range heads = local_range(a, layer, query_head, part);
            const int64_t group = a.group(layer);
            return {heads.begin / group,
                    heads.size() == 0 ? heads.begin / group : div_ceil(heads.end, group)};
        }
        case hidden:
        case head_dim:
            return {0, length(a, layer, axis)};
    }
    throw InternalError("unknown axis");
}

Range owned_range(const Architecture& a, int64_t layer, Axis axis, TensorPart part) {
    Range range = local_range(a, layer, axis, part);
    if (axis == hidden || axis == head_dim) return part.rank == 0 ? range : Range{range.end, range.end};
    for (int r = 0; r < part.rank; ++r) {
        const Range lower = local_range(a, layer, axis, {part.size, r});
        range.begin = std::min(std::max(range.begin, lower.end), range.end);
    }
    return range;
}

Box local_box(const Architecture& a, const Parameter& p, TensorPart part) {
    if (p.split < 0) return whole(p.shape);
    return box_of(p, local_range(a, p.layer, p.axes[p.split], part));
}

Box owned_box(const Architecture& a, const Parameter& p, TensorPart part) {
    if (p.split < 0) {
        Box box = whole(p.shape);
        if (part.rank != 0) box.count[0] = 0;
        return box;
    }
    return box_of(p, owned_range(a, p.layer, p.axes[p.split], part));
}

}  // namespace espalier::model
