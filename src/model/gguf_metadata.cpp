#include "src/model/gguf_metadata.hpp"

#include <algorithm>
#include <cmath>

#include "src/json/field.hpp"
#include "src/model/family.hpp"
#include "src/model/rotary_table.hpp"

namespace espalier::model {
namespace {

/// What a file says of its model: fields, most of whose names begin with the architecture's, and which
/// tensors there are.
struct File {
    const JsonField& in;
    std::string prefix;
    const std::vector<std::string>& tensors;

    std::string key(std::string_view name) const { return fmt::format("{}{}", prefix, name); }
    bool has_tensor(std::string_view name) const {
        return std::find(tensors.begin(), tensors.end(), name) != tensors.end();
    }
};

/// llama.cpp's architectures have transformers' names, but for Phi; Mistral's models are llama.
Family family_of(const std::string& arch, const std::string& source) {
    std::string supported;
    for (const auto& [family, model_type] : family_names) {
        if (family == Family::mistral) continue;
        const std::string_view name = family == Family::phi ? "phi2" : model_type;
        if (arch == name) return family;
        supported += (supported.empty() ? "" : ", ") + std::string(name);
    }
    fail("{}: GGUF architecture \"{}\" is not supported; supported are {} (llama is Mistral's too)", source,
         arch, supported);
}

void read_widths(const File& file, Architecture& a) {
    const JsonField& in = file.in;
    a.hidden = in.integer(file.key("embedding_length"));
    const int64_t depth = in.integer(file.key("block_count"));
    check_depth(depth, in.source(), file.key("block_count"));
    const auto heads = in.per_layer(file.key("attention.head_count"), depth);
    const auto kv = in.has(file.key("attention.head_count_kv"))
                        ? in.per_layer(file.key("attention.head_count_kv"), depth)
                        : heads;
    const auto ffn = in.per_layer(file.key("feed_forward_length"), depth);
    for (size_t i = 0; i < static_cast<size_t>(depth); ++i) a.layers.push_back({heads[i], kv[i], ffn[i], 0});
    ESPALIER_REQUIRE(heads[0] > 0, "{}: {} is {}", in.source(), file.key("attention.head_count"), heads[0]);
    a.head_dim = in.integer(file.key("attention.key_length"), a.hidden / heads[0]);
    const int64_t value_dim = in.integer(file.key("attention.value_length"), a.head_dim);
    ESPALIER_REQUIRE(value_dim == a.head_dim,
                     "{}: heads with keys of {} and values of {} dimensions are not supported", in.source(),
                     a.head_dim, value_dim);
    a.vocab = in.integer("vocab_size");
    a.max_positions = in.integer(file.key("context_length"));
}

void read_norms(const File& file, Architecture& a) {
    const bool layer = a.norm.kind == NormKind::layer;
    a.norm.eps = static_cast<float>(file.in.number(
        file.key(layer ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon")));
    if (file.has_tensor("blk.0.attn_q_norm.weight")) a.qk_norm_eps = a.norm.eps;
}

/// What no field says.
void read_tensors(const File& file, Architecture& a) {
    a.qkv_bias = file.has_tensor("blk.0.attn_q.bias") || file.has_tensor("blk.0.attn_qkv.bias");
    a.attention_out_bias = file.has_tensor("blk.0.attn_output.bias");
    a.mlp_bias = file.has_tensor("blk.0.ffn_up.bias");
    a.tied = !file.has_tensor("output.weight");
}

/// A Llama 3 file stores no scaling parameters but the factor of each frequency; they are found back by
/// comparison.
void read_rope_factors(const File& file, const std::vector<float>& factors, Architecture& a) {
    if (factors.empty()) return;
    ESPALIER_REQUIRE(static_cast<int64_t>(factors.size()) == a.rotary_dim / 2,
                     "{}: rope_freqs.weight has {} factors, expected {}", file.in.place(), factors.size(),
                     a.rotary_dim / 2);
    if (std::all_of(factors.begin(), factors.end(), [](float f) { return f == 1.0f; })) return;
    Architecture plain = a;
    plain.rotary_scaling = {};
    const auto base = rotary_frequencies(plain);
    const double largest = *std::max_element(factors.begin(), factors.end());
    for (const int64_t original :
         {file.in.integer(file.key("rope.scaling.original_context_length"), 8192), int64_t{8192}}) {
        Architecture scaled = a;
        scaled.rotary_scaling = {RotaryScaling::Kind::llama3, largest, 1, 4, original};
        const auto frequencies = rotary_frequencies(scaled);
        bool fits = true;  // NaN does not
        for (size_t i = 0; i < base.size(); ++i)
            fits = fits && std::abs(base[i] / frequencies[i] / double{factors[i]} - 1) < 1e-3;
        if (fits) {
            a.rotary_scaling = scaled.rotary_scaling;
            return;
        }
    }
    fail(
        "{}: the factors in rope_freqs.weight are not Llama 3's (low 1, high 4, original context 8192), so "
        "no scaling that a config can name\n"
        "  convert the original checkpoint instead of its GGUF",
        file.in.place());
}

/// llama.cpp's yarn has the paper's attention factor, times one of the file's.
void read_yarn(const File& file, Architecture& a) {
    auto& s = a.rotary_scaling;
    s.kind = RotaryScaling::Kind::yarn;
    s.factor = file.in.number(file.key("rope.scaling.factor"));
    s.original_positions = file.in.integer(file.key("rope.scaling.original_context_length"), a.max_positions);
    s.attention_factor = file.in.number(file.key("rope.scaling.attn_factor"), 1) *
                         (s.factor > 1 ? 0.1 * std::log(s.factor) + 1 : 1);
}

void read_scaling(const File& file, Architecture& a) {
    const std::string scaling = file.in.text(file.key("rope.scaling.type"), "none");
    ESPALIER_REQUIRE(scaling == "none" || scaling == "linear" || scaling == "yarn",
                     "{}: {} \"{}\" is not supported; supported are none, linear, yarn and Llama 3's factors",
                     file.in.source(), file.key("rope.scaling.type"), scaling);
    if (scaling == "linear") {
        a.rotary_scaling.kind = RotaryScaling::Kind::linear;
        a.rotary_scaling.factor = file.in.number(file.key("rope.scaling.factor"));
    }
    if (scaling == "yarn") read_yarn(file, a);
}

void read_rotary(const File& file, const std::vector<float>& factors, Architecture& a) {
    a.rotary_base = file.in.number(file.key("rope.freq_base"), 10000.0);
    // The converter of Nemotron writes rope.dimension_count from hidden / heads, which is wrong for pruned
    // models (42 for Minitron 8B, whose half of head_dim is 64): half of the heads' true dimension is what
    // the family has.
    a.rotary_dim = a.family == Family::nemotron
                       ? a.head_dim / 2
                       : file.in.integer(file.key("rope.dimension_count"), a.head_dim);
    read_scaling(file, a);
    read_rope_factors(file, factors, a);
}

void read_windows(const File& file, Architecture& a) {
    const int64_t window = file.in.integer(file.key("attention.sliding_window"), 0);
    if (window >= a.max_positions) return;  // one that holds the whole context is none
    for (size_t i = 0; i < a.layers.size(); ++i) {
        if (a.family != Family::gemma2 || i % 2 == 0) a.layers[i].window = window;
    }
}

/// What llama.cpp knows of these families beyond what its files say.
void read_gemma(const File& file, Architecture& a) {
    if (!is_gemma(a.family)) return;
    a.embedding_scale = std::sqrt(static_cast<double>(a.hidden));
    if (a.family != Family::gemma2) return;
    constexpr int64_t layers_of_27b = 46;
    a.post_norms = true;
    a.query_scalar = a.depth() == layers_of_27b ? a.hidden / a.layers[0].query_heads : a.head_dim;
    a.attention_soft_cap = static_cast<float>(file.in.number(file.key("attn_logit_softcapping"), 50));
    a.final_soft_cap = static_cast<float>(file.in.number(file.key("final_logit_softcapping"), 30));
}

void read_conventions(const JsonField& in, Conventions& out) {
    const auto id = [&](const char* name) {
        const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
        return in.has(key) ? std::optional(in.integer(key)) : std::nullopt;
    };
    out.bos = id("bos");
    out.pad = id("padding");
    for (const char* end : {"eos", "eot", "eom"}) {  // of a text, a turn, a message
        const auto ended = id(end);
        if (ended && std::find(out.eos.begin(), out.eos.end(), *ended) == out.eos.end())
            out.eos.push_back(*ended);
    }
}

}  // namespace

Architecture from_gguf(const nlohmann::json& metadata, const std::vector<std::string>& tensors,
                       const std::vector<float>& rope_factors, const std::string& source) {
    const JsonField in(metadata, source);
    const std::string arch = in.text("general.architecture");
    Architecture a;
    apply(traits_of(family_of(arch, source)), a);
    const File file{in, arch + ".", tensors};
    ESPALIER_REQUIRE(in.integer(file.key("expert_count"), 0) == 0,
                     "{}: mixtures of experts are not supported ({})", source, file.key("expert_count"));
    read_widths(file, a);
    read_norms(file, a);
    read_tensors(file, a);
    read_rotary(file, rope_factors, a);
    read_windows(file, a);
    read_gemma(file, a);
    read_conventions(in, a.conventions);
    check(a, source);
    return a;
}

}  // namespace espalier::model
