#include <cmath>
#include <initializer_list>
#include <utility>

#include "src/core/error.hpp"
#include "src/json/number.hpp"
#include "src/model/hugging_face.hpp"
#include "src/model/hugging_face_class.hpp"
#include "src/model/loadable.hpp"

namespace espalier::model {

using nlohmann::ordered_json;

namespace {

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

/// The fields of rotary scaling, as transformers 5 gathers them.
ordered_json rotary_json(const Architecture& a) {
    const RotaryScaling& s = a.rotary_scaling;
    const auto with = [&](const char* type,
                          std::initializer_list<std::pair<const char*, ordered_json>> fields) {
        ordered_json out{{"rope_type", type}, {"rope_theta", a.rotary_base}};
        for (const auto& [key, value] : fields) out[key] = value;
        return out;
    };
    switch (s.kind) {
        case RotaryScaling::Kind::none:
            return with("default", {});
        case RotaryScaling::Kind::linear:
            return with("linear", {{"factor", s.factor}});
        case RotaryScaling::Kind::llama3:
            return with("llama3", {{"factor", s.factor},
                                   {"low_freq_factor", s.low_frequency_factor},
                                   {"high_freq_factor", s.high_frequency_factor},
                                   {"original_max_position_embeddings", s.original_positions}});
        case RotaryScaling::Kind::yarn:
            return with("yarn", {{"factor", s.factor},
                                 {"original_max_position_embeddings", s.original_positions},
                                 {"beta_fast", s.beta_fast},
                                 {"beta_slow", s.beta_slow},
                                 {"attention_factor", s.attention_factor},
                                 {"truncate", s.truncate}});
    }
    throw InternalError("unknown rotary scaling");
}

void add_windows(const Architecture& a, WindowField field, ordered_json& out) {
    if (field == WindowField::none) return;
    const int64_t window = widest(a, &LayerShape::window);  // 0: no layer has one
    out["sliding_window"] = window > 0 ? ordered_json(window) : ordered_json(nullptr);
    // transformers 5.23 asks a Gemma 2 for its window even where no layer has one.
    if (field == WindowField::alternating && window == 0) out["sliding_window"] = a.max_positions;
    if (field == WindowField::of_model) return;
    int64_t before = 0;  // the first that has one
    ordered_json types = ordered_json::array();
    for (const LayerShape& l : a.layers) {
        if (l.window == 0 && before == std::ssize(types)) ++before;
        types.push_back(l.window > 0 ? "sliding_attention" : "full_attention");
    }
    out["layer_types"] = types;
    if (field != WindowField::of_layers) return;
    out["use_sliding_window"] = window > 0;
    out["max_window_layers"] = before;
}

const char* eps_field(const Architecture& a) {
    if (a.norm.kind == NormKind::rms) return "rms_norm_eps";
    return a.family == Family::nemotron ? "norm_eps" : "layer_norm_eps";
}

void add_gemma(const Architecture& a, ordered_json& out) {
    out["hidden_activation"] = out.at("hidden_act");
    if (a.family != Family::gemma2) return;
    const auto cap = [](float value) {
        return value > 0 ? ordered_json(shortest(value)) : ordered_json(nullptr);
    };
    out["query_pre_attn_scalar"] = a.query_scalar > 0 ? a.query_scalar : a.head_dim;
    out["attn_logit_softcapping"] = cap(a.attention_soft_cap);
    out["final_logit_softcapping"] = cap(a.final_soft_cap);
}

}  // namespace

ordered_json to_hugging_face(const Architecture& a, const std::string& dtype) {
    const Family family = loadable_family(a);
    const HuggingFaceClass& c = hugging_face_class(family);
    const auto& l = a.layers.front();
    ordered_json rope = rotary_json(a);
    ordered_json out{
        {"architectures", {c.name}},
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
        {"rope_scaling", a.rotary_scaling.kind == RotaryScaling::Kind::none ? ordered_json(nullptr) : rope},
        {"use_cache", true}};
    out[eps_field(a)] = shortest(a.norm.eps);
    if (traits_of(family).rotary_fraction != 1) {
        const double fraction = rotary_fraction(a);
        out["partial_rotary_factor"] = fraction;
        rope["partial_rotary_factor"] = fraction;
    }
    if (c.attention_biases == Biases::as_configured) out["attention_bias"] = a.qkv_bias;
    if (c.mlp_biases == Biases::as_configured) out["mlp_bias"] = a.mlp_bias;
    add_windows(a, c.window, out);
    if (is_gemma(family)) add_gemma(a, out);
    out["rope_parameters"] = rope;
    out["bos_token_id"] = a.conventions.bos ? ordered_json(*a.conventions.bos) : ordered_json(nullptr);
    out["eos_token_id"] = one_or_list(a.conventions.eos);
    out["pad_token_id"] = a.conventions.pad ? ordered_json(*a.conventions.pad) : ordered_json(nullptr);
    out["dtype"] = dtype;
    out["torch_dtype"] = dtype;
    return out;
}

}  // namespace espalier::model
