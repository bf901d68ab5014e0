#include "src/model/architecture.hpp"

#include <algorithm>
#include <cmath>

#include "src/core/error.hpp"
#include "src/core/exact.hpp"

namespace espalier::model {

std::string_view to_string(Family family) {
    return name_of(family_names, family);
}

bool Architecture::uniform() const {
    const LayerShape& first = layers.front();
    return std::all_of(layers.begin(), layers.end(), [&](const LayerShape& l) {
        return l.query_heads == first.query_heads && l.kv_heads == first.kv_heads && l.ffn == first.ffn;
    });
}

int64_t Architecture::windowed_layers() const {
    return std::count_if(layers.begin(), layers.end(), [](const LayerShape& l) { return l.window > 0; });
}

int64_t Architecture::group(int64_t layer) const {
    const auto& l = layers.at(static_cast<size_t>(layer));
    return l.kv_heads == 0 ? 1 : div_exact(l.query_heads, l.kv_heads);
}

int64_t narrowest(const Architecture& a, int64_t LayerShape::*width) {
    return std::ranges::min(a.layers, {}, width).*width;
}

int64_t widest(const Architecture& a, int64_t LayerShape::*width) {
    return std::ranges::max(a.layers, {}, width).*width;
}

int64_t most_parts(const Architecture& a) {
    return std::min({narrowest(a, &LayerShape::query_heads), narrowest(a, &LayerShape::ffn), a.vocab});
}

bool same_function(Architecture a, const Architecture& b) {
    a.conventions = b.conventions;
    return a == b;
}

namespace {

constexpr double most_weights = 1e15;  // sizes in bytes stay far from 2^63

/// Of the matrices, in double: an int64 might not hold what a wrong file says.
double weights(const Architecture& a) {
    double flops = head_product_flops(a);
    for (int64_t layer = 0; layer < a.depth(); ++layer) flops += layer_product_flops(a, layer);
    return flops / 2;
}

/// Dims that are not turned are cut head by head, which a norm with one weight for all heads cannot follow.
void check_qk_norm(const Architecture& a, const std::string& source) {
    if (!a.qk_norm_eps) return;
    ESPALIER_REQUIRE(*a.qk_norm_eps > 0, "{}: the epsilon of the heads' norm is {}; it must be positive",
                     source, *a.qk_norm_eps);
    ESPALIER_REQUIRE(
        a.rotary_dim == a.head_dim && a.norm.kind == NormKind::rms && a.norm.gain == Gain::weight,
        "{}: queries and keys are normed head by head; that is supported where all {} dims of a head "
        "are turned by their position (here {}), and the other norms are RMSNorm",
        source, a.head_dim, a.rotary_dim);
}

void check_scales_and_caps(const Architecture& a, const std::string& source) {
    const auto finite = [](double x) { return std::isfinite(x); };
    ESPALIER_REQUIRE(finite(a.embedding_scale) && a.embedding_scale > 0,
                     "{}: the embeddings' scale is {}; it must be positive", source, a.embedding_scale);
    ESPALIER_REQUIRE(a.query_scalar >= 0, "{}: query_scalar is {}; it must be positive, or 0 for head_dim",
                     source, a.query_scalar);
    for (const float cap : {a.attention_soft_cap, a.final_soft_cap})
        ESPALIER_REQUIRE(finite(double{cap}) && cap >= 0,
                         "{}: a soft cap is {}; it must be positive, or 0 for none", source, cap);
}

/// With another base or factor, or bounds that do not lie apart, angles would be infinite or no numbers.
void check_rotary(const Architecture& a, const std::string& source) {
    ESPALIER_REQUIRE(a.rotary_dim >= 0 && a.rotary_dim <= a.head_dim && a.rotary_dim % 2 == 0,
                     "{}: rotary dimension {} must be even and at most head_dim {}", source, a.rotary_dim,
                     a.head_dim);
    constexpr double most_base = 1e30, least_factor = 1e-6, most_factor = 1e6;
    ESPALIER_REQUIRE(a.rotary_base >= 1 && a.rotary_base <= most_base,
                     "{}: the rotary base is {}; it must be 1 to {:g}", source, a.rotary_base, most_base);
    const RotaryScaling& s = a.rotary_scaling;
    ESPALIER_REQUIRE(s.factor >= least_factor && s.factor <= most_factor,
                     "{}: the factor of rotary scaling is {}; it must be {:g} to {:g}", source, s.factor,
                     least_factor, most_factor);
    if (s.kind == RotaryScaling::Kind::yarn) {
        ESPALIER_REQUIRE(a.rotary_base > 1, "{}: yarn needs a rotary base above 1", source);
        ESPALIER_REQUIRE(
            s.attention_factor <= most_factor && s.beta_slow > 0 && s.beta_fast > s.beta_slow &&
                s.attention_factor > 0 && s.original_positions > 0,
            "{}: yarn between {} and {} rotations of {} original positions with an attention factor of "
            "{}; all must be positive, and the first of the rotations above the second",
            source, s.beta_fast, s.beta_slow, s.original_positions, s.attention_factor);
    }
    if (s.kind != RotaryScaling::Kind::llama3) return;
    ESPALIER_REQUIRE(
        s.low_frequency_factor > 0 && s.high_frequency_factor > s.low_frequency_factor &&
            s.original_positions > 0,
        "{}: rotary scaling between frequency factors {} and {} of {} original positions; all must "
        "be positive, and the second above the first",
        source, s.low_frequency_factor, s.high_frequency_factor, s.original_positions);
}

}  // namespace

void check_depth(int64_t depth, const std::string& source, std::string_view field) {
    constexpr int64_t most_layers = 99999;
    ESPALIER_REQUIRE(depth >= 1 && depth <= most_layers, "{}: \"{}\" is {}; it must be 1 to {}", source,
                     field, depth, most_layers);
}

void check(const Architecture& a, const std::string& source) {
    const auto positive = [&](int64_t value, const char* field) {
        constexpr int64_t most = (int64_t{1} << 31) - 1;
        ESPALIER_REQUIRE(value >= 1 && value <= most, "{}: {} is {}; it must be 1 to {}", source, field,
                         value, most);
    };
    positive(a.vocab, "vocab");
    positive(a.hidden, "hidden");
    positive(a.head_dim, "head_dim");
    positive(a.max_positions, "max_positions");
    check_depth(a.depth(), source, "layers");
    for (int64_t i = 0; i < a.depth(); ++i) {
        const auto& l = a.layers[static_cast<size_t>(i)];
        positive(l.query_heads, "query_heads");
        positive(l.kv_heads, "kv_heads");
        positive(l.ffn, "ffn");
        ESPALIER_REQUIRE(
            l.query_heads % l.kv_heads == 0,
            "{}: layer {} has {} query heads for {} KV heads; the KV heads must divide the query heads",
            source, i, l.query_heads, l.kv_heads);
        ESPALIER_REQUIRE(l.window >= 0, "{}: layer {} has an attention window of {}; it must not be negative",
                         source, i, l.window);
    }
    ESPALIER_REQUIRE(weights(a) <= most_weights, "{}: {:.3g} weights; the widths must be wrong", source,
                     weights(a));
    ESPALIER_REQUIRE(a.norm.eps > 0, "{}: the norm epsilon is {}; it must be positive", source, a.norm.eps);
    ESPALIER_REQUIRE(!a.parallel_block || !a.post_norms,
                     "{}: a block whose MLP stands beside attention has no norms after them", source);
    check_qk_norm(a, source);
    check_rotary(a, source);
    check_scales_and_caps(a, source);
    ESPALIER_REQUIRE(a.conventions.init_std >= 0,
                     "{}: init_std, in a config.json initializer_range, is {}; it must not be negative",
                     source, a.conventions.init_std);
}

double layer_product_flops(const Architecture& a, int64_t layer) {
    const auto& l = a.layers[static_cast<size_t>(layer)];
    const auto hidden = static_cast<double>(a.hidden), head_dim = static_cast<double>(a.head_dim);
    const double q = static_cast<double>(l.query_heads) * head_dim,
                 kv = static_cast<double>(l.kv_heads) * head_dim;
    return 2.0 * hidden *
           (2.0 * q + 2.0 * kv + static_cast<double>(l.ffn) * (is_gated(a.activation) ? 3.0 : 2.0));
}

double head_product_flops(const Architecture& a) {
    return 2.0 * static_cast<double>(a.hidden) * static_cast<double>(a.vocab);
}

double mean_visible_keys(const LayerShape& layer, int64_t seq_len) {
    const auto s = static_cast<double>(seq_len);
    const double w = layer.window > 0 ? std::min(static_cast<double>(layer.window), s) : s;
    return w * (1 - w / (2 * s));
}

double forward_flops_per_token(const Architecture& a, int64_t seq_len, int64_t first_layer) {
    double flops = head_product_flops(a);
    for (int64_t layer = first_layer; layer < a.depth(); ++layer) {
        const LayerShape& l = a.layers[static_cast<size_t>(layer)];
        const auto q = static_cast<double>(l.query_heads * a.head_dim);
        flops += layer_product_flops(a, layer) + 4.0 * mean_visible_keys(l, seq_len) * q;
    }
    return flops;
}

}  // namespace espalier::model
