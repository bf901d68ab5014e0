#include <algorithm>
#include <cmath>

#include "src/core/error.hpp"
#include "src/json/number.hpp"
#include "src/model/hugging_face.hpp"
#include "src/model/hugging_face_class.hpp"

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

/// Of the layers that have one; 0: none has.
int64_t window_of(const Architecture& a) {
    return widest(a, &LayerShape::window);
}

/// What the classes of transformers cannot be told, and so would do otherwise.
void require_expressible(const Architecture& a) {
    ESPALIER_REQUIRE(a.uniform(),
                     "layers of different widths: no public format holds such a model; cut all layers to the "
                     "same widths to export");
    const HuggingFaceClass& c = hugging_face_class(a.family);
    const FamilyTraits& traits = traits_of(a.family);
    const auto require = [&](bool expressible, const char* what) {
        ESPALIER_REQUIRE(expressible, "transformers loads no {} with {}", c.name, what);
    };
    require(is_gated(traits.activation) == is_gated(a.activation), "this activation");
    const bool gemma = is_gemma(a.family), gemma2 = a.family == Family::gemma2;
    require(a.norm.kind == traits.norm && a.norm_bias == (traits.norm == NormKind::layer) &&
                a.norm.gain == traits.gain && a.post_norms == gemma2,
            "norms of another kind");
    require(a.parallel_block == traits.parallel_block,
            traits.parallel_block ? "an MLP that comes after attention" : "an MLP beside attention");
    require(a.head_bias == traits.head_bias,
            traits.head_bias ? "an output projection without bias" : "a bias of the output projection");
    require(gemma || a.embedding_scale == 1, "scaled embeddings");
    require((gemma2 && a.query_scalar > 0) || a.query_scalar == 0 || a.query_scalar == a.head_dim,
            "scores scaled otherwise than by their heads' width");
    require(gemma2 || (a.attention_soft_cap == 0 && a.final_soft_cap == 0), "soft caps");
    require(a.qk_norm_eps == (c.qk_norm ? std::optional(a.norm.eps) : std::nullopt),
            c.qk_norm ? "queries and keys that are not normed as the rest" : "normed queries and keys");
    require(traits.rotary_fraction != 1 || a.rotary_dim == a.head_dim,
            "heads of which only a part is turned by its position");
    if (c.attention_biases == Biases::query_key_value) {
        require(a.qkv_bias && !a.attention_out_bias, "other attention biases than before the heads");
    } else {
        require(a.qkv_bias == a.attention_out_bias, "attention biases before the heads or after them alone");
        require(c.attention_biases != Biases::none || !a.qkv_bias, "biases");
        require(c.attention_biases != Biases::all || a.qkv_bias, "projections without biases");
    }
    require(c.mlp_biases != Biases::none || !a.mlp_bias,
            c.attention_biases == Biases::none ? "biases" : "biases in the MLP");
    require(c.mlp_biases != Biases::all || a.mlp_bias, "projections without biases");
    const int64_t windowed = a.windowed_layers();
    require(a.family == Family::llama || c.window != WindowField::none || windowed == 0, "a sliding window");
    require(windowed == 0 || windowed == a.depth() || c.window == WindowField::of_layers ||
                c.window == WindowField::alternating,
            "a sliding window in some layers alone");
    require(std::all_of(a.layers.begin(), a.layers.end(),
                        [&](const LayerShape& l) { return l.window == 0 || l.window == window_of(a); }),
            "sliding windows of different lengths");
}

}  // namespace

namespace {

/// Throws UserError unless hidden is a multiple of the query heads, which these classes of transformers
/// check.
void require_multiple(const Architecture& a, const char* what) {
    const int64_t heads = a.layers.front().query_heads, below = a.hidden / heads * heads;
    ESPALIER_REQUIRE(
        a.hidden % heads == 0,
        "transformers loads no {} whose hidden size {} is not a multiple of its {} query heads; the "
        "nearest that load have hidden {}{}",
        what, a.hidden, heads, below > 0 ? fmt::format("{} or ", below) : "", below + heads);
}

}  // namespace

Family loadable_family(const Architecture& a) {
    require_expressible(a);
    const bool windowed = a.windowed_layers() > 0, biases = a.qkv_bias || a.attention_out_bias || a.mlp_bias;
    if (a.family == Family::gemma2) require_multiple(a, "Gemma 2");
    if (a.family != Family::llama) return a.family;
    if (!biases)
        return windowed || a.hidden % a.layers.front().query_heads != 0 ? Family::mistral : Family::llama;
    ESPALIER_REQUIRE(!windowed, "transformers loads no Llama with biases and a sliding window");
    require_multiple(a, "Llama with biases");
    return Family::llama;
}

namespace {

void add_windows(const Architecture& a, WindowField field, ordered_json& out) {
    if (field == WindowField::none) return;
    const int64_t window = window_of(a);
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
    out["query_pre_attn_scalar"] = a.query_scalar;
    out["attn_logit_softcapping"] = cap(a.attention_soft_cap);
    out["final_logit_softcapping"] = cap(a.final_soft_cap);
}

}  // namespace

ordered_json to_hugging_face(const Architecture& a, const std::string& dtype) {
    const Family family = loadable_family(a);
    const HuggingFaceClass& c = hugging_face_class(family);
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
    if (s.kind == RotaryScaling::Kind::yarn) {
        rope = {{"rope_type", "yarn"},
                {"rope_theta", a.rotary_base},
                {"factor", s.factor},
                {"original_max_position_embeddings", s.original_positions},
                {"beta_fast", s.beta_fast},
                {"beta_slow", s.beta_slow},
                {"attention_factor", s.attention_factor},
                {"truncate", s.truncate}};
    }
    ordered_json out{{"architectures", {c.name}},
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
