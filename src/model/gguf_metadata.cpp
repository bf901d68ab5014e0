#include "src/model/gguf_metadata.hpp"

#include <algorithm>
#include <cmath>

#include "src/json/field.hpp"
#include "src/model/hugging_face_class.hpp"
#include "src/model/rotary_table.hpp"

namespace espalier::model {
namespace {

/// A Llama 3 file stores no scaling parameters but the factor of each frequency; they are found back by
/// comparison.
void read_rope_factors(Architecture& a, const std::vector<float>& factors, const JsonField& in,
                       const std::string& prefix) {
    if (factors.empty()) return;
    ESPALIER_REQUIRE(static_cast<int64_t>(factors.size()) == a.rotary_dim / 2,
                     "{}: rope_freqs.weight has {} factors, expected {}", in.place(), factors.size(),
                     a.rotary_dim / 2);
    if (std::all_of(factors.begin(), factors.end(), [](float f) { return f == 1.0f; })) return;
    Architecture plain = a;
    plain.rotary_scaling = {};
    const auto base = rotary_frequencies(plain);
    const double largest = *std::max_element(factors.begin(), factors.end());
    for (const int64_t original :
         {in.integer(prefix + "rope.scaling.original_context_length", 8192), int64_t{8192}}) {
        Architecture scaled = a;
        scaled.rotary_scaling = {RotaryScaling::Kind::llama3, largest, 1, 4, original};
        const auto frequencies = rotary_frequencies(scaled);
        double worst = 0;
        for (size_t i = 0; i < base.size(); ++i)
            worst = std::max(worst, std::abs(base[i] / frequencies[i] / static_cast<double>(factors[i]) - 1));
        if (worst < 1e-3) {
            a.rotary_scaling = scaled.rotary_scaling;
            return;
        }
    }
    fail(
        "{}: the factors in rope_freqs.weight are not Llama 3's (low 1, high 4, original context 8192), so "
        "no scaling that a config can name\n"
        "  convert the original checkpoint instead of its GGUF",
        in.place());
}

/// llama.cpp's architectures have transformers' names, and Mistral's models are llama.
Family family_of(const std::string& arch, const std::string& source) {
    std::string supported;
    for (const auto& [family, name] : family_names) {
        if (family == Family::mistral) continue;
        if (arch == name) return family;
        supported += (supported.empty() ? "" : ", ") + std::string(name);
    }
    fail("{}: GGUF architecture \"{}\" is not supported; supported are {} (llama is Mistral's too)", source,
         arch, supported);
}

/// llama.cpp's yarn has the paper's attention factor, times one of the file's.
void read_yarn(const JsonField& in, const std::string& prefix, Architecture& a) {
    auto& s = a.rotary_scaling;
    s.kind = RotaryScaling::Kind::yarn;
    s.factor = in.number(prefix + "rope.scaling.factor");
    s.original_positions = in.integer(prefix + "rope.scaling.original_context_length", a.max_positions);
    s.attention_factor =
        in.number(prefix + "rope.scaling.attn_factor", 1) * (s.factor > 1 ? 0.1 * std::log(s.factor) + 1 : 1);
}

/// What llama.cpp knows of these families beyond what its files say.
void read_gemma(const JsonField& in, const std::string& prefix, Architecture& a) {
    a.embedding_scale = std::sqrt(static_cast<double>(a.hidden));
    if (a.family != Family::gemma2) return;
    constexpr int64_t layers_of_27b = 46;
    a.post_norms = true;
    a.query_scalar = a.depth() == layers_of_27b ? a.hidden / a.layers[0].query_heads : a.head_dim;
    a.attention_soft_cap = static_cast<float>(in.number(prefix + "attn_logit_softcapping", 50));
    a.final_soft_cap = static_cast<float>(in.number(prefix + "final_logit_softcapping", 30));
}

}  // namespace

Architecture from_gguf(const nlohmann::json& metadata, const std::vector<std::string>& tensors,
                       const std::vector<float>& rope_factors, const std::string& source) {
    const JsonField in(metadata, source);
    const std::string arch = in.text("general.architecture");
    const Family family = family_of(arch, source);
    const std::string prefix = arch + ".";
    const auto key = [&](const char* name) { return prefix + name; };
    const auto has = [&](const std::string& tensor) {
        return std::find(tensors.begin(), tensors.end(), tensor) != tensors.end();
    };
    ESPALIER_REQUIRE(in.integer(key("expert_count"), 0) == 0,
                     "{}: mixtures of experts are not supported ({}expert_count)", source, prefix);

    Architecture a;
    const bool nemotron = family == Family::nemotron;
    a.family = family;
    a.hidden = in.integer(key("embedding_length"));
    const int64_t depth = in.integer(key("block_count"));
    check_depth(depth, source, key("block_count"));
    const auto heads = in.per_layer(key("attention.head_count"), depth);
    const auto kv =
        in.has(key("attention.head_count_kv")) ? in.per_layer(key("attention.head_count_kv"), depth) : heads;
    const auto ffn = in.per_layer(key("feed_forward_length"), depth);
    for (size_t i = 0; i < static_cast<size_t>(depth); ++i) a.layers.push_back({heads[i], kv[i], ffn[i], 0});
    ESPALIER_REQUIRE(heads[0] > 0, "{}: {}attention.head_count is {}", source, prefix, heads[0]);
    a.head_dim = in.integer(key("attention.key_length"), a.hidden / heads[0]);
    const int64_t value_dim = in.integer(key("attention.value_length"), a.head_dim);
    ESPALIER_REQUIRE(value_dim == a.head_dim,
                     "{}: heads with keys of {} and values of {} dimensions are not supported", source,
                     a.head_dim, value_dim);
    a.vocab = in.integer("vocab_size");
    const bool gemma = is_gemma(family);
    a.activation = nemotron ? Activation::relu2 : gemma ? Activation::geglu : Activation::swiglu;
    a.norm.kind = nemotron ? NormKind::layer : NormKind::rms;
    a.norm.gain = nemotron || gemma ? Gain::one_plus_weight : Gain::weight;
    a.norm.eps = static_cast<float>(
        in.number(key(nemotron ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon")));
    a.norm_bias = nemotron;
    if (has("blk.0.attn_q_norm.weight")) a.qk_norm_eps = a.norm.eps;
    a.qkv_bias = has("blk.0.attn_q.bias");
    a.attention_out_bias = has("blk.0.attn_output.bias");
    a.mlp_bias = has("blk.0.ffn_up.bias");
    a.tied = !has("output.weight");
    a.rotary_base = in.number(key("rope.freq_base"), 10000.0);
    // The converter of Nemotron writes rope.dimension_count from hidden / heads, which is wrong for pruned
    // models (42 for Minitron 8B, whose half of head_dim is 64): half of the heads' true dimension is what
    // the family has.
    a.rotary_dim = nemotron ? a.head_dim / 2 : in.integer(key("rope.dimension_count"), a.head_dim);
    const std::string scaling = in.text(key("rope.scaling.type"), "none");
    ESPALIER_REQUIRE(scaling == "none" || scaling == "linear" || scaling == "yarn",
                     "{}: {}rope.scaling.type \"{}\" is not supported; supported are none, linear, yarn and "
                     "Llama 3's factors",
                     source, prefix, scaling);
    if (scaling == "linear") {
        a.rotary_scaling.kind = RotaryScaling::Kind::linear;
        a.rotary_scaling.factor = in.number(key("rope.scaling.factor"));
    }
    a.max_positions = in.integer(key("context_length"));
    if (scaling == "yarn") read_yarn(in, prefix, a);
    read_rope_factors(a, rope_factors, in, prefix);
    const int64_t window = in.integer(key("attention.sliding_window"), 0);
    for (size_t i = 0; i < a.layers.size() && window < a.max_positions; ++i) {
        if (family != Family::gemma2 || i % 2 == 0) a.layers[i].window = window;
    }
    if (gemma) read_gemma(in, prefix, a);
    const auto id = [&](const std::string& name) {
        return in.has(name) ? std::optional(in.integer(name)) : std::nullopt;
    };
    a.conventions.bos = id("tokenizer.ggml.bos_token_id");
    auto& eos = a.conventions.eos;
    for (const char* end : {"eos", "eot", "eom"}) {  // of a text, a turn, a message
        const auto ended = id(fmt::format("tokenizer.ggml.{}_token_id", end));
        if (ended && std::find(eos.begin(), eos.end(), *ended) == eos.end()) eos.push_back(*ended);
    }
    a.conventions.pad = id("tokenizer.ggml.padding_token_id");
    check(a, source);
    return a;
}

}  // namespace espalier::model
