#include "src/model/loadable.hpp"

#include <algorithm>

#include "src/core/error.hpp"
#include "src/model/hugging_face_class.hpp"

namespace espalier::model {
namespace {

/// What a class of transformers takes for granted, or cannot be told, and whether the model agrees.
struct Demand {
    bool met;
    const char* otherwise;
};

std::vector<Demand> norm_demands(const Architecture& a, const FamilyTraits& traits) {
    const bool post_norms = a.family == Family::gemma2;
    return {{a.norm.kind == traits.norm && a.norm_bias == (traits.norm == NormKind::layer) &&
                 a.norm.gain == traits.gain && a.post_norms == post_norms,
             "norms of another kind"},
            {a.parallel_block == traits.parallel_block,
             traits.parallel_block ? "an MLP that comes after attention" : "an MLP beside attention"}};
}

std::vector<Demand> attention_demands(const Architecture& a, const FamilyTraits& traits,
                                      const HuggingFaceClass& c) {
    const bool gemma2 = a.family == Family::gemma2;
    return {{(gemma2 && a.query_scalar > 0) || a.query_scalar == 0 || a.query_scalar == a.head_dim,
             "scores scaled otherwise than by their heads' width"},
            {gemma2 || (a.attention_soft_cap == 0 && a.final_soft_cap == 0), "soft caps"},
            {a.qk_norm_eps == (c.qk_norm ? std::optional(a.norm.eps) : std::nullopt),
             c.qk_norm ? "queries and keys that are not normed as the rest" : "normed queries and keys"},
            {traits.rotary_fraction != 1 || a.rotary_dim == a.head_dim,
             "heads of which only a part is turned by its position"}};
}

std::vector<Demand> bias_demands(const Architecture& a, const FamilyTraits& traits,
                                 const HuggingFaceClass& c) {
    const bool into_heads_alone = c.attention_biases == Biases::query_key_value;
    return {{a.head_bias == traits.head_bias,
             traits.head_bias ? "an output projection without bias" : "a bias of the output projection"},
            {!into_heads_alone || (a.qkv_bias && !a.attention_out_bias),
             "other attention biases than before the heads"},
            {into_heads_alone || a.qkv_bias == a.attention_out_bias,
             "attention biases before the heads or after them alone"},
            {c.attention_biases != Biases::none || !a.qkv_bias, "biases"},
            {c.attention_biases != Biases::all || a.qkv_bias, "projections without biases"},
            {c.mlp_biases != Biases::none || !a.mlp_bias,
             c.attention_biases == Biases::none ? "biases" : "biases in the MLP"},
            {c.mlp_biases != Biases::all || a.mlp_bias, "projections without biases"}};
}

std::vector<Demand> window_demands(const Architecture& a, const HuggingFaceClass& c) {
    const int64_t windowed = a.windowed_layers(), window = widest(a, &LayerShape::window);
    return {{a.family == Family::llama || c.window != WindowField::none || windowed == 0, "a sliding window"},
            {windowed == 0 || windowed == a.depth() || c.window == WindowField::of_layers ||
                 c.window == WindowField::alternating,
             "a sliding window in some layers alone"},
            {std::all_of(a.layers.begin(), a.layers.end(),
                         [&](const LayerShape& l) { return l.window == 0 || l.window == window; }),
             "sliding windows of different lengths"}};
}

/// The first thing that no class can be told, and so would do otherwise; empty where there is none.
std::string inexpressible(const Architecture& a) {
    if (!a.uniform())
        return "layers of different widths: no public format holds such a model; cut all layers to the same "
               "widths to export";
    const HuggingFaceClass& c = hugging_face_class(a.family);
    const FamilyTraits& traits = traits_of(a.family);
    std::vector<Demand> all{{is_gated(traits.activation) == is_gated(a.activation), "this activation"},
                            {is_gemma(a.family) || a.embedding_scale == 1, "scaled embeddings"}};
    for (const auto& some : {norm_demands(a, traits), attention_demands(a, traits, c),
                             bias_demands(a, traits, c), window_demands(a, c)})
        all.insert(all.end(), some.begin(), some.end());
    const auto unmet = std::find_if(all.begin(), all.end(), [](const Demand& d) { return !d.met; });
    return unmet == all.end() ? ""
                              : fmt::format("transformers loads no {} with {}", c.name, unmet->otherwise);
}

bool heads_divide_hidden(const Architecture& a) {
    return a.hidden % a.layers.front().query_heads == 0;
}

/// Some classes of transformers check that they do.
std::string objection_to_heads(const Architecture& a, const char* what) {
    if (heads_divide_hidden(a)) return "";
    const int64_t heads = a.layers.front().query_heads, below = a.hidden / heads * heads;
    return fmt::format(
        "transformers loads no {} whose hidden size {} is not a multiple of its {} query heads; the nearest "
        "that load have hidden {}{}",
        what, a.hidden, heads, below > 0 ? fmt::format("{} or ", below) : "", below + heads);
}

std::string objection(const Architecture& a) {
    if (auto text = inexpressible(a); !text.empty()) return text;
    if (a.family == Family::gemma2) return objection_to_heads(a, "Gemma 2");
    const bool biases = a.qkv_bias || a.attention_out_bias || a.mlp_bias;
    if (a.family != Family::llama || !biases) return "";
    if (a.windowed_layers() > 0) return "transformers loads no Llama with biases and a sliding window";
    return objection_to_heads(a, "Llama with biases");
}

}  // namespace

Loadable loadable(const Architecture& a) {
    if (auto text = objection(a); !text.empty()) return {std::nullopt, std::move(text)};
    const bool as_mistral = a.family == Family::llama && (a.windowed_layers() > 0 || !heads_divide_hidden(a));
    return {as_mistral ? Family::mistral : a.family, ""};
}

Family loadable_family(const Architecture& a) {
    const Loadable found = loadable(a);
    ESPALIER_REQUIRE(found.family, "{}", found.objection);
    return *found.family;
}

}  // namespace espalier::model
