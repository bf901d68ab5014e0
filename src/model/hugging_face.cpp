#include "src/model/hugging_face.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "src/core/error.hpp"
#include "src/core/names.hpp"
#include "src/json/field.hpp"
#include "src/model/hugging_face_class.hpp"

namespace espalier::model {

using nlohmann::json;

namespace {

const HuggingFaceClass& class_of(const JsonField& in) {
    std::string name, supported;
    if (in.has("architectures")) {
        const json& names = in.at("architectures").value();
        if (names.is_array() && !names.empty() && names[0].is_string()) name = names[0].get<std::string>();
    }
    const std::string type = in.text("model_type", "");
    for (const auto& c : hugging_face_classes()) {
        if (name.empty() ? type == to_string(c.family) : name == c.name) return c;
        supported += (supported.empty() ? "" : ", ") + std::string(c.name);
    }
    fail("{}: architecture \"{}\" (model_type \"{}\") is not supported; supported are {}", in.place(), name,
         type, supported);
}

Activation activation_of(const JsonField& in, const HuggingFaceClass& c) {
    std::string act = in.text("hidden_act", c.activation);
    // The first Gemmas say "gelu" and mean its tanh form; later files have a field of another name.
    if (is_gemma(c.family)) act = in.text("hidden_activation", act == "gelu" ? c.activation : act);
    const bool gated = is_gated(traits_of(c.family).activation);
    if (act == "gelu_new" || act == "gelu_pytorch_tanh") return gated ? Activation::geglu : Activation::gelu;
    if (act == "silu" || (gated && act == "swish")) return gated ? Activation::swiglu : Activation::silu;
    if (act == "relu2" && !gated) return Activation::relu2;
    fail("{}: \"hidden_act\" \"{}\" is not supported; supported are silu, {}gelu_new, gelu_pytorch_tanh",
         in.place(), act, gated ? "" : "relu2, ");
}

constexpr std::array rotary_types{Named{RotaryScaling::Kind::linear, "linear"},
                                  Named{RotaryScaling::Kind::llama3, "llama3"},
                                  Named{RotaryScaling::Kind::yarn, "yarn"}};

/// Peng et al. 2023, equation 22: 0.1 m ln(s) + 1.
double yarn_scale(double factor, double m) {
    return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1.0;
}

/// As _compute_yarn_parameters of transformers 5.23 takes them; the original positions are there already.
void read_yarn(const JsonField& r, Architecture& a) {
    auto& s = a.rotary_scaling;
    s.factor = r.number("factor");
    const auto given = [&](const char* field, double otherwise) {
        const double value = r.number(field, 0);
        return value == 0 ? otherwise : value;
    };
    s.beta_fast = given("beta_fast", s.beta_fast);
    s.beta_slow = given("beta_slow", s.beta_slow);
    const double m = given("mscale", 0), all = given("mscale_all_dim", 0);
    s.attention_factor =
        r.number("attention_factor", m != 0 && all != 0 ? yarn_scale(s.factor, m) / yarn_scale(s.factor, all)
                                                        : yarn_scale(s.factor, 1));
    s.truncate = r.flag("truncate", true);
}

/// `r`: the field of rotary scaling in the whole, `in`.
void read_scaling(const JsonField& in, const JsonField& r, const std::string& type, Architecture& a) {
    const auto kind = value_of(rotary_types, type);
    ESPALIER_REQUIRE(kind, "{}: rotary scaling \"{}\" is not supported; supported are default, {}", r.place(),
                     type, listed(rotary_types));
    auto& s = a.rotary_scaling;
    s.kind = *kind;
    if (s.kind != RotaryScaling::Kind::linear)
        s.original_positions = r.integer("original_max_position_embeddings",
                                         in.integer("original_max_position_embeddings", a.max_positions));
    if (s.kind == RotaryScaling::Kind::yarn) return read_yarn(r, a);
    s.factor = r.number("factor");
    if (s.kind != RotaryScaling::Kind::llama3) return;
    s.low_frequency_factor = r.number("low_freq_factor");
    s.high_frequency_factor = r.number("high_freq_factor");
}

/// The rotary fields, which transformers 5 gathers in rope_parameters and 4 spreads over rope_theta and
/// rope_scaling. a.max_positions is there already.
void read_rotary(const JsonField& in, const HuggingFaceClass& c, Architecture& a) {
    const double usual = traits_of(a.family).rotary_fraction;
    a.rotary_base = in.number("rope_theta", 10000.0);
    double fraction = usual;
    for (const char* alias : {"partial_rotary_factor", "rope_percent", "rope_percentage"}) {
        if (in.has(alias)) {
            fraction = in.number(alias);
            break;
        }
    }
    for (const char* field : {"rope_parameters", "rope_scaling"}) {
        if (!in.has(field)) continue;
        const JsonField r = in.at(field);
        a.rotary_base = r.number("rope_theta", a.rotary_base);
        fraction = r.number("partial_rotary_factor", fraction);
        const std::string type = r.text("rope_type", r.text("type", "default"));
        if (type != "default") read_scaling(in, r, type, a);
    }
    ESPALIER_REQUIRE(fraction >= 0 && fraction <= 1,
                     "{}: \"partial_rotary_factor\" is {}; it must be between 0 and 1", in.place(), fraction);
    const char* const written_as = hugging_face_class(a.family).name;
    ESPALIER_REQUIRE(
        usual != 1 || fraction == 1 || std::string_view(c.name) == written_as,
        "{}: \"partial_rotary_factor\" is {}; only {} that turns whole heads is supported, which "
        "is a {}",
        in.place(), fraction, c.name, written_as);
    // transformers 5.23 turns whole heads in these families, whatever the field says.
    ESPALIER_REQUIRE(
        usual != 1 || fraction == 1,
        "{}: \"partial_rotary_factor\" is {}, which the {} of transformers does not heed; take it "
        "out of the file if the model was trained without it",
        in.place(), fraction, written_as);
    a.rotary_dim = static_cast<int64_t>(static_cast<double>(a.head_dim) * fraction);
}

constexpr const char* window_field = "sliding_window";

/// 4096 where the file does not name it; null: none.
int64_t read_window(const JsonField& in) {
    if (!in.has(window_field)) return in.value().contains(window_field) ? 0 : 4096;
    const int64_t window = in.integer(window_field);
    ESPALIER_REQUIRE(window >= 1, "{}: \"{}\" is {}; it must be at least 1, or null for none", in.place(),
                     window_field, window);
    return window;
}

constexpr const char* types = "layer_types";

/// Which layers have the window, as the file lists them.
std::vector<bool> listed_windows(const JsonField& in, int64_t depth) {
    const auto layers = in.at(types).elements();
    ESPALIER_REQUIRE(std::ssize(layers) == depth, "{}: \"{}\" has {} entries for {} layers", in.place(),
                     types, layers.size(), depth);
    std::vector<bool> windowed;
    for (const auto& layer : layers) {
        const std::string type = layer.text();
        ESPALIER_REQUIRE(type == "full_attention" || type == "sliding_attention",
                         "{}: \"{}\" is not supported; supported are full_attention and sliding_attention",
                         layer.place(), type);
        windowed.push_back(type == "sliding_attention");
    }
    return windowed;
}

/// Which layers have it where "layer_types" is missing.
bool has_window(const JsonField& in, WindowField field, int64_t layer) {
    if (field == WindowField::of_layers) return layer >= in.integer("max_window_layers", 28);
    return field != WindowField::alternating || layer % 2 == 0;
}

void read_windows(const JsonField& in, WindowField field, Architecture& a) {
    if (field == WindowField::none) return;
    if (field == WindowField::of_model_if_named && !in.has(window_field)) return;
    const bool uses = field != WindowField::of_layers || in.flag("use_sliding_window", false);
    std::vector<bool> windowed;
    const bool by_layer = field == WindowField::of_layers || field == WindowField::alternating;
    if (by_layer && in.has(types)) {
        windowed = listed_windows(in, a.depth());
        ESPALIER_REQUIRE(uses || std::find(windowed.begin(), windowed.end(), true) == windowed.end(),
                         "{}: \"{}\" has layers with sliding_attention, and \"use_sliding_window\" is not "
                         "set; make them one or the other",
                         in.place(), types);
    } else {
        for (int64_t i = 0; i < a.depth(); ++i) windowed.push_back(has_window(in, field, i));
    }
    if (!uses) return;
    const int64_t window = read_window(in);
    if (window >= a.max_positions) return;  // one that holds the whole context is none
    for (size_t i = 0; i < windowed.size(); ++i) a.layers[i].window = windowed[i] ? window : 0;
}

/// What only these models have.
void read_gemma(const JsonField& in, Architecture& a) {
    ESPALIER_REQUIRE(!in.flag("use_bidirectional_attention", false),
                     "{}: \"use_bidirectional_attention\" is set; only causal models are supported",
                     in.place());
    a.embedding_scale = std::sqrt(static_cast<double>(a.hidden));
    if (a.family != Family::gemma2) return;
    a.post_norms = true;
    a.query_scalar = in.integer("query_pre_attn_scalar", 256);
    ESPALIER_REQUIRE(a.query_scalar > 0, "{}: \"query_pre_attn_scalar\" is {}; it must be positive",
                     in.place(), a.query_scalar);
    const auto cap = [&](const char* field, double otherwise) {
        if (!in.has(field)) return in.value().contains(field) ? 0.0f : static_cast<float>(otherwise);
        return static_cast<float>(in.number(field));
    };
    a.attention_soft_cap = cap("attn_logit_softcapping", 50);
    a.final_soft_cap = cap("final_logit_softcapping", 30);
}

/// "mlp_bias", or "attention_bias", where the class heeds it.
bool has_biases(const JsonField& in, Biases biases, const char* field) {
    return biases == Biases::all || (biases == Biases::as_configured && in.flag(field, false));
}

/// Older Nemotrons name it as Phi does.
double norm_eps(const JsonField& in, const Architecture& a) {
    if (a.norm.kind == NormKind::rms) return in.number("rms_norm_eps", 1e-6);
    const double eps = in.number("layer_norm_eps", 1e-5);
    return a.family == Family::nemotron ? in.number("norm_eps", eps) : eps;
}

/// What these classes could be told to do otherwise.
void require_usual_norms(const JsonField& in, Family family) {
    if (family == Family::nemotron) {
        const std::string normalization = in.text("normalization", "layernorm1p");
        ESPALIER_REQUIRE(normalization == "layernorm1p",
                         "{}: \"normalization\" \"{}\" is not supported; Nemotron's is layernorm1p",
                         in.place(), normalization);
    }
    ESPALIER_REQUIRE(family != Family::phi || !in.flag("qk_layernorm", false),
                     "{}: \"qk_layernorm\" is set; Phi models with normed queries and keys are not supported",
                     in.place());
}

std::optional<int64_t> first_id(const JsonField& in, const char* field) {
    const auto ids = in.integers(field);
    return ids.empty() ? std::nullopt : std::optional(ids.front());
}

}  // namespace

Architecture from_hugging_face(const json& config, const std::string& source) {
    const JsonField in(config, source);
    const HuggingFaceClass& c = class_of(in);
    Architecture a;
    apply(traits_of(c.family), a);
    a.vocab = in.integer("vocab_size");
    a.hidden = in.integer("hidden_size");
    const int64_t depth = in.integer("num_hidden_layers");
    check_depth(depth, source, "num_hidden_layers");
    LayerShape shape;
    shape.query_heads = in.integer("num_attention_heads");
    shape.kv_heads = in.integer("num_key_value_heads", shape.query_heads);
    shape.ffn = in.integer("intermediate_size");
    a.layers.assign(static_cast<size_t>(depth), shape);
    if (in.has("head_dim")) {
        a.head_dim = in.integer("head_dim");
    } else if (in.has("kv_channels")) {
        a.head_dim = in.integer("kv_channels");
    } else if (c.head_dim > 0) {
        a.head_dim = c.head_dim;
    } else {
        ESPALIER_REQUIRE(shape.query_heads > 0 && a.hidden % shape.query_heads == 0,
                         "{}: no \"head_dim\", and \"hidden_size\" {} is not a multiple of "
                         "\"num_attention_heads\" {}; write head_dim into the file",
                         source, a.hidden, shape.query_heads);
        a.head_dim = a.hidden / shape.query_heads;
    }
    a.activation = activation_of(in, c);
    a.norm.eps = static_cast<float>(norm_eps(in, a));
    require_usual_norms(in, c.family);
    if (c.qk_norm) a.qk_norm_eps = a.norm.eps;
    a.attention_out_bias = has_biases(in, c.attention_biases, "attention_bias");
    a.qkv_bias = a.attention_out_bias || c.attention_biases == Biases::query_key_value;
    a.mlp_bias = has_biases(in, c.mlp_biases, "mlp_bias");
    a.tied = in.flag("tie_word_embeddings", c.tied);
    a.max_positions = in.integer("max_position_embeddings", c.max_positions);
    read_rotary(in, c, a);
    read_windows(in, c.window, a);
    if (is_gemma(c.family)) read_gemma(in, a);
    a.conventions.init_std = in.number("initializer_range", c.init_std);
    a.conventions.bos = first_id(in, "bos_token_id");
    a.conventions.eos = in.integers("eos_token_id");
    a.conventions.pad = first_id(in, "pad_token_id");
    return a;
}

}  // namespace espalier::model
