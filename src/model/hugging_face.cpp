#include "src/model/hugging_face.hpp"

#include <cmath>

#include "src/core/error.hpp"
#include "src/json/field.hpp"
#include "src/json/number.hpp"

namespace espalier::model {

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

Family family_of(const JsonField& in) {
    std::string name;
    if (in.has("architectures")) {
        const json& names = in.at("architectures").value();
        if (names.is_array() && !names.empty() && names[0].is_string()) name = names[0].get<std::string>();
    }
    if (name == "LlamaForCausalLM") return Family::llama;
    if (name == "MistralForCausalLM") return Family::mistral;
    if (name == "NemotronForCausalLM") return Family::nemotron;
    const std::string type = in.text("model_type", "");
    if (name.empty() && type == "llama") return Family::llama;
    if (name.empty() && type == "mistral") return Family::mistral;
    if (name.empty() && type == "nemotron") return Family::nemotron;
    fail(
        "{}: architecture \"{}\" (model_type \"{}\") is not supported; supported are LlamaForCausalLM, "
        "MistralForCausalLM, NemotronForCausalLM",
        in.place(), name, type);
}

Activation activation_of(const JsonField& in, Family family) {
    const std::string act = in.text("hidden_act", family == Family::nemotron ? "relu2" : "silu");
    if (family == Family::nemotron) {
        if (act == "relu2") return Activation::relu2;
        if (act == "gelu_new" || act == "gelu_pytorch_tanh") return Activation::gelu;
        if (act == "silu") return Activation::silu;
    } else {
        if (act == "silu" || act == "swish") return Activation::swiglu;
        if (act == "gelu_new" || act == "gelu_pytorch_tanh") return Activation::geglu;
    }
    fail(
        "{}: \"hidden_act\" \"{}\" is not supported; supported are silu, relu2 (Nemotron), gelu_new, "
        "gelu_pytorch_tanh",
        in.place(), act);
}

std::string hf_class(Family family) {
    switch (family) {
        case Family::llama:
            return "LlamaForCausalLM";
        case Family::mistral:
            return "MistralForCausalLM";
        case Family::nemotron:
            return "NemotronForCausalLM";
    }
    throw InternalError("unknown family");
}

/// The rotary fields, which transformers 5 gathers in rope_parameters and 4 spreads over rope_theta and
/// rope_scaling. a.max_positions is there already.
void read_rotary(const JsonField& in, Architecture& a) {
    const bool nemotron = a.family == Family::nemotron;
    a.rotary_base = in.number("rope_theta", 10000.0);
    double fraction = nemotron ? 0.5 : 1.0;
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
        auto& s = a.rotary_scaling;
        if (type == "default") continue;
        ESPALIER_REQUIRE(type == "linear" || type == "llama3",
                         "{}: rotary scaling \"{}\" is not supported; supported are default, linear, llama3",
                         r.place(), type);
        s.factor = r.number("factor");
        ESPALIER_REQUIRE(s.factor > 0, "{}: \"factor\" is {}; it must be positive", r.place(), s.factor);
        s.kind = type == "linear" ? RotaryScaling::Kind::linear : RotaryScaling::Kind::llama3;
        if (s.kind == RotaryScaling::Kind::llama3) {
            s.low_frequency_factor = r.number("low_freq_factor");
            s.high_frequency_factor = r.number("high_freq_factor");
            s.original_positions = r.integer("original_max_position_embeddings",
                                             in.integer("original_max_position_embeddings", a.max_positions));
            ESPALIER_REQUIRE(s.high_frequency_factor > s.low_frequency_factor,
                             "{}: \"high_freq_factor\" must exceed \"low_freq_factor\"", r.place());
        }
    }
    ESPALIER_REQUIRE(fraction >= 0 && fraction <= 1,
                     "{}: \"partial_rotary_factor\" is {}; it must be between 0 and 1", in.place(), fraction);
    // transformers 5.23 turns whole heads in these families, whatever the field says.
    ESPALIER_REQUIRE(
        nemotron || fraction == 1,
        "{}: \"partial_rotary_factor\" is {}, which the {} of transformers does not heed; take it "
        "out of the file if the model was trained without it",
        in.place(), fraction, hf_class(a.family));
    a.rotary_dim = static_cast<int64_t>(static_cast<double>(a.head_dim) * fraction);
}

/// Mistral's attention window, 4096 where the file does not name it; null: none.
int64_t read_window(const JsonField& in) {
    constexpr const char* field = "sliding_window";
    if (!in.has(field)) return in.value().contains(field) ? 0 : 4096;
    const int64_t window = in.integer(field);
    ESPALIER_REQUIRE(window >= 1, "{}: \"{}\" is {}; it must be at least 1, or null for none", in.place(),
                     field, window);
    return window;
}

std::optional<int64_t> first_id(const JsonField& in, const char* field) {
    const auto ids = in.integers(field);
    return ids.empty() ? std::nullopt : std::optional(ids.front());
}

/// The least fraction of head_dim that a loader, which rounds down, takes for rotary_dim.
double rotary_fraction(const Architecture& a) {
    const auto whole = static_cast<double>(a.head_dim), part = static_cast<double>(a.rotary_dim);
    const double fraction = part / whole;
    return whole * fraction < part ? std::nextafter(fraction, 1.0) : fraction;
}

std::string hf_activation(Activation activation) {
    switch (activation) {
        case Activation::swiglu:
        case Activation::silu:
            return "silu";
        case Activation::geglu:
        case Activation::gelu:
            return "gelu_pytorch_tanh";
        case Activation::relu2:
            return "relu2";
    }
    throw InternalError("unknown activation");
}

}  // namespace

Architecture from_hugging_face(const json& config, const std::string& source) {
    const JsonField in(config, source);
    Architecture a;
    a.family = family_of(in);
    const bool nemotron = a.family == Family::nemotron;
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
    } else {
        ESPALIER_REQUIRE(shape.query_heads > 0 && a.hidden % shape.query_heads == 0,
                         "{}: no \"head_dim\", and \"hidden_size\" {} is not a multiple of "
                         "\"num_attention_heads\" {}; write head_dim into the file",
                         source, a.hidden, shape.query_heads);
        a.head_dim = a.hidden / shape.query_heads;
    }
    a.activation = activation_of(in, a.family);
    a.norm.kind = nemotron ? NormKind::layer : NormKind::rms;
    a.norm.gain = nemotron ? Gain::one_plus_weight : Gain::weight;
    a.norm.eps = static_cast<float>(nemotron ? in.number("norm_eps", in.number("layer_norm_eps", 1e-5))
                                             : in.number("rms_norm_eps", 1e-6));
    a.norm_bias = nemotron;
    const std::string normalization = in.text("normalization", "layernorm1p");
    ESPALIER_REQUIRE(!nemotron || normalization == "layernorm1p",
                     "{}: \"normalization\" \"{}\" is not supported; Nemotron's is layernorm1p", source,
                     normalization);
    a.qkv_bias = a.attention_out_bias = a.family != Family::mistral && in.flag("attention_bias", false);
    a.mlp_bias = a.family != Family::mistral && in.flag("mlp_bias", false);
    a.tied = in.flag("tie_word_embeddings", false);
    a.max_positions = in.integer("max_position_embeddings", nemotron                      ? 4096
                                                            : a.family == Family::mistral ? 131072
                                                                                          : 2048);
    read_rotary(in, a);
    if (a.family == Family::mistral) a.window = read_window(in);
    if (a.window >= a.max_positions) a.window = 0;  // a window that holds the whole context is none
    a.conventions.init_std = in.number("initializer_range", nemotron ? 0.0134 : 0.02);
    a.conventions.bos = first_id(in, "bos_token_id");
    a.conventions.eos = in.integers("eos_token_id");
    a.conventions.pad = first_id(in, "pad_token_id");
    return a;
}

namespace {

/// What the classes of transformers cannot be told, and so would do otherwise.
void require_expressible(const Architecture& a) {
    ESPALIER_REQUIRE(a.uniform(),
                     "layers of different widths: no public format holds such a model; cut all layers to the "
                     "same widths to export");
    const bool nemotron = a.family == Family::nemotron;
    const auto require = [&](bool expressible, const char* what) {
        ESPALIER_REQUIRE(expressible, "transformers loads no {} with {}", hf_class(a.family), what);
    };
    require(nemotron != is_gated(a.activation), "this activation");
    require(a.norm.kind == (nemotron ? NormKind::layer : NormKind::rms) && a.norm_bias == nemotron &&
                a.norm.gain == (nemotron ? Gain::one_plus_weight : Gain::weight),
            "norms of another kind");
    require(nemotron || a.rotary_dim == a.head_dim, "heads of which only a part is turned by its position");
    require(a.qkv_bias == a.attention_out_bias, "attention biases before the heads or after them alone");
    require(a.family != Family::mistral || !(a.qkv_bias || a.mlp_bias), "biases");
    require(!nemotron || a.window == 0, "a sliding window");
}

}  // namespace

Family loadable_family(const Architecture& a) {
    require_expressible(a);
    const auto& l = a.layers.front();
    const bool as_llama = a.hidden % l.query_heads == 0 && a.window == 0;
    if (a.family != Family::llama || as_llama) return a.family;
    if (!a.qkv_bias && !a.attention_out_bias && !a.mlp_bias) return Family::mistral;
    ESPALIER_REQUIRE(a.window == 0, "transformers loads no Llama with biases and a sliding window");
    const int64_t below = a.hidden / l.query_heads * l.query_heads;
    fail(
        "transformers loads no Llama with biases whose hidden size {} is not a multiple of its {} query "
        "heads; the nearest that load have hidden {}{}",
        a.hidden, l.query_heads, below > 0 ? fmt::format("{} or ", below) : "", below + l.query_heads);
}

ordered_json to_hugging_face(const Architecture& a, const std::string& dtype) {
    const Family family = loadable_family(a);
    const auto& l = a.layers.front();
    const auto& s = a.rotary_scaling;
    ordered_json rope{{"rope_type", "default"}, {"rope_theta", a.rotary_base}};
    if (s.kind == RotaryScaling::Kind::linear)
        rope = {{"rope_type", "linear"}, {"rope_theta", a.rotary_base}, {"factor", s.factor}};
    if (s.kind == RotaryScaling::Kind::llama3) {
        rope = {{"rope_type", "llama3"},
                {"rope_theta", a.rotary_base},
                {"factor", s.factor},
                {"low_freq_factor", s.low_frequency_factor},
                {"high_freq_factor", s.high_frequency_factor},
                {"original_max_position_embeddings", s.original_positions}};
    }
    ordered_json out{{"architectures", {hf_class(family)}},
                     {"model_type", to_string(family)},
                     {"vocab_size", a.vocab},
                     {"hidden_size", a.hidden},
                     {"intermediate_size", l.ffn},
                     {"num_hidden_layers", a.depth()},
                     {"num_attention_heads", l.query_heads},
                     {"num_key_value_heads", l.kv_heads},
                     {"head_dim", a.head_dim},
                     {"hidden_act", hf_activation(a.activation)},
                     {"max_position_embeddings", a.max_positions},
                     {"initializer_range", a.conventions.init_std},
                     {"tie_word_embeddings", a.tied},
                     {"rope_theta", a.rotary_base},
                     {"rope_scaling", s.kind == RotaryScaling::Kind::none ? ordered_json(nullptr) : rope},
                     {"use_cache", true}};
    if (family == Family::nemotron) {
        const double fraction = rotary_fraction(a);
        out["norm_eps"] = shortest(a.norm.eps);
        out["partial_rotary_factor"] = fraction;
        rope["partial_rotary_factor"] = fraction;
    } else {
        out["rms_norm_eps"] = shortest(a.norm.eps);
    }
    if (family == Family::mistral) {
        out["sliding_window"] = a.window > 0 ? ordered_json(a.window) : ordered_json(nullptr);
    } else {
        out["attention_bias"] = a.qkv_bias;
        out["mlp_bias"] = a.mlp_bias;
    }
    out["rope_parameters"] = rope;
    out["bos_token_id"] = a.conventions.bos ? ordered_json(*a.conventions.bos) : ordered_json(nullptr);
    out["eos_token_id"] = one_or_list(a.conventions.eos);
    out["pad_token_id"] = a.conventions.pad ? ordered_json(*a.conventions.pad) : ordered_json(nullptr);
    out["dtype"] = dtype;
    out["torch_dtype"] = dtype;
    return out;
}

}  // namespace espalier::model
