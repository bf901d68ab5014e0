#include "src/model/architecture_json.hpp"

#include <algorithm>

#include "src/core/names.hpp"
#include "src/json/field.hpp"
#include "src/json/number.hpp"
#include "src/model/hugging_face.hpp"

namespace espalier::model {

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

/// One number where it is the same in all layers.
ordered_json per_layer(const Architecture& a, int64_t LayerShape::*field) {
    ordered_json list = ordered_json::array();
    for (const auto& l : a.layers) list.push_back(l.*field);
    const bool same = std::all_of(list.begin(), list.end(), [&](const auto& v) { return v == list.front(); });
    return same ? list.front() : list;
}

ordered_json optional_id(const std::optional<int64_t>& id) {
    return id ? ordered_json(*id) : ordered_json(nullptr);
}

std::optional<int64_t> read_id(const JsonField& in, const char* field) {
    return in.has(field) ? std::optional(in.integer(field)) : std::nullopt;
}

template <class Table>
auto choice(const JsonField& in, const char* field, const Table& table) {
    const std::string text = in.text(field);
    const auto value = value_of(table, text);
    ESPALIER_REQUIRE(value, "{}: \"{}\" is \"{}\"; known are {}", in.place(), field, text, listed(table));
    return *value;
}

constexpr std::array norm_kinds{Named{NormKind::rms, "rms"}, Named{NormKind::layer, "layer"}};
constexpr std::array gains{Named{Gain::weight, "weight"}, Named{Gain::one_plus_weight, "one_plus_weight"}};
constexpr std::array scalings{
    Named{RotaryScaling::Kind::none, "none"}, Named{RotaryScaling::Kind::linear, "linear"},
    Named{RotaryScaling::Kind::llama3, "llama3"}, Named{RotaryScaling::Kind::yarn, "yarn"}};

Architecture from_own(const JsonField& in) {
    Architecture a;
    a.family = choice(in, "family", family_names);
    a.vocab = in.integer("vocab");
    a.hidden = in.integer("hidden");
    a.head_dim = in.integer("head_dim");
    const int64_t depth = in.integer("layers");
    check_depth(depth, in.place(), "layers");
    const auto heads = in.per_layer("query_heads", depth), kv = in.per_layer("kv_heads", depth),
               ffn = in.per_layer("ffn", depth);
    std::vector<int64_t> window(heads.size(), 0);
    if (in.has("window")) window = in.per_layer("window", depth);
    for (size_t i = 0; i < heads.size(); ++i) a.layers.push_back({heads[i], kv[i], ffn[i], window[i]});
    const std::string activation = in.text("activation");
    const auto known = activation_from_string(activation);
    ESPALIER_REQUIRE(known.has_value(), "{}: unknown \"activation\" \"{}\"", in.place(), activation);
    a.activation = *known;
    a.norm = {choice(in, "norm", norm_kinds), choice(in, "norm_gain", gains),
              static_cast<float>(in.number("norm_eps"))};
    a.norm_bias = in.flag("norm_bias", false);
    a.parallel_block = in.flag("parallel_block", false);
    a.post_norms = in.flag("post_norms", false);
    if (in.has("qk_norm_eps")) a.qk_norm_eps = static_cast<float>(in.number("qk_norm_eps"));
    a.qkv_bias = in.flag("qkv_bias", false);
    a.attention_out_bias = in.flag("attention_out_bias", false);
    a.mlp_bias = in.flag("mlp_bias", false);
    a.head_bias = in.flag("head_bias", false);
    a.tied = in.flag("tied", false);
    a.embedding_scale = in.number("embedding_scale", 1);
    a.query_scalar = in.integer("query_scalar", 0);
    a.attention_soft_cap = static_cast<float>(in.number("attention_soft_cap", 0));
    a.final_soft_cap = static_cast<float>(in.number("final_soft_cap", 0));
    a.rotary_dim = in.integer("rotary_dim");
    a.rotary_base = in.number("rotary_base");
    if (in.has("rotary_scaling")) {
        const JsonField s = in.at("rotary_scaling");
        a.rotary_scaling = {choice(s, "kind", scalings),
                            s.number("factor", 1),
                            s.number("low_frequency_factor", 1),
                            s.number("high_frequency_factor", 4),
                            s.integer("original_positions", 8192),
                            s.number("beta_fast", 32),
                            s.number("beta_slow", 1),
                            s.number("attention_factor", 1),
                            s.flag("truncate", true)};
    }
    a.max_positions = in.integer("max_positions");
    a.conventions.init_std = in.number("init_std", 0.02);
    a.conventions.bos = read_id(in, "bos");
    a.conventions.eos = in.integers("eos");
    a.conventions.pad = read_id(in, "pad");
    return a;
}

}  // namespace

ordered_json to_json(const Architecture& a) {
    ordered_json out{{"family", to_string(a.family)},
                     {"vocab", a.vocab},
                     {"hidden", a.hidden},
                     {"layers", a.depth()},
                     {"query_heads", per_layer(a, &LayerShape::query_heads)},
                     {"kv_heads", per_layer(a, &LayerShape::kv_heads)},
                     {"head_dim", a.head_dim},
                     {"ffn", per_layer(a, &LayerShape::ffn)},
                     {"activation", to_string(a.activation)},
                     {"norm", name_of(norm_kinds, a.norm.kind)},
                     {"norm_gain", name_of(gains, a.norm.gain)},
                     {"norm_eps", shortest(a.norm.eps)},
                     {"norm_bias", a.norm_bias},
                     {"qkv_bias", a.qkv_bias},
                     {"attention_out_bias", a.attention_out_bias},
                     {"mlp_bias", a.mlp_bias},
                     {"tied", a.tied},
                     {"rotary_dim", a.rotary_dim},
                     {"rotary_base", a.rotary_base}};
    if (a.qk_norm_eps) out["qk_norm_eps"] = shortest(*a.qk_norm_eps);
    const auto& s = a.rotary_scaling;
    if (s.kind != RotaryScaling::Kind::none) {
        out["rotary_scaling"] = {{"kind", name_of(scalings, s.kind)},
                                 {"factor", s.factor},
                                 {"low_frequency_factor", s.low_frequency_factor},
                                 {"high_frequency_factor", s.high_frequency_factor},
                                 {"original_positions", s.original_positions}};
        if (s.kind == RotaryScaling::Kind::yarn) {
            out["rotary_scaling"].update({{"beta_fast", s.beta_fast},
                                          {"beta_slow", s.beta_slow},
                                          {"attention_factor", s.attention_factor},
                                          {"truncate", s.truncate}});
        }
    }
    if (a.parallel_block) out["parallel_block"] = true;
    if (a.post_norms) out["post_norms"] = true;
    if (a.head_bias) out["head_bias"] = true;
    if (a.embedding_scale != 1) out["embedding_scale"] = a.embedding_scale;
    if (a.query_scalar > 0) out["query_scalar"] = a.query_scalar;
    if (a.attention_soft_cap > 0) out["attention_soft_cap"] = shortest(a.attention_soft_cap);
    if (a.final_soft_cap > 0) out["final_soft_cap"] = shortest(a.final_soft_cap);
    out["window"] = per_layer(a, &LayerShape::window);
    out["max_positions"] = a.max_positions;
    out["init_std"] = a.conventions.init_std;
    out["bos"] = optional_id(a.conventions.bos);
    out["eos"] = one_or_list(a.conventions.eos);
    out["pad"] = optional_id(a.conventions.pad);
    return out;
}

Architecture architecture_from_json(const json& object, const std::string& source) {
    const JsonField in(object, source);
    Architecture a = in.has("family") ? from_own(in) : from_hugging_face(object, source);
    check(a, source);
    return a;
}

}  // namespace espalier::model
