#include "src/search/space.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "src/core/error.hpp"

namespace espalier::search {
namespace {

constexpr int64_t neuron_multiple = 8;

/// Their product where it is whole, else the nearest multiple.
int64_t neurons(double ratio, int64_t hidden) {
    const double wanted = ratio * static_cast<double>(hidden);
    if (wanted == std::floor(wanted)) return static_cast<int64_t>(wanted);
    return neuron_multiple * std::max<int64_t>(1, std::llround(wanted / neuron_multiple));
}

void check_list(const std::vector<int64_t>& values, int64_t most, const char* option, const char* what) {
    for (const int64_t v : values) {
        ESPALIER_REQUIRE(v > 0, "{} {}: it must be at least 1", option, v);
        ESPALIER_REQUIRE(v <= most, "{} {}: the model has {} {}, and pruning adds none; choose {} <= {}",
                         option, v, most, what, option, most);
    }
}

std::vector<int64_t> narrower(int64_t hidden) {
    int64_t step = 1;
    while (2 * step <= hidden / 8) step *= 2;
    std::vector<int64_t> out;
    for (int64_t h = hidden; h > 0 && 3 * h >= hidden; h -= step) out.push_back(h);
    return out;
}

}  // namespace

bool operator<(const ModelShape& x, const ModelShape& y) {
    const auto key = [](const ModelShape& s) {
        return std::tuple(-s.layers, s.heads, s.ffn, -s.hidden, s.kv_heads);
    };
    return key(x) < key(y);
}

std::string to_string(const ModelShape& s) {
    return fmt::format("{} layers, hidden {}, {} heads on {} KV heads, {} neurons", s.layers, s.hidden,
                       s.heads, s.kv_heads, s.ffn);
}

ModelShape largest(const model::Architecture& a) {
    using model::LayerShape;
    return {a.depth(), a.hidden, narrowest(a, &LayerShape::query_heads), narrowest(a, &LayerShape::kv_heads),
            narrowest(a, &LayerShape::ffn)};
}

model::Architecture with_shape(const model::Architecture& a, const ModelShape& s) {
    model::Architecture out = a;
    out.hidden = s.hidden;
    out.layers.clear();
    // Which layers stay is not known; the first ones' windows stand for theirs.
    for (int64_t i = 0; i < s.layers; ++i) {
        const auto like = static_cast<size_t>(std::min(i, a.depth() - 1));
        out.layers.push_back({s.heads, s.kv_heads, s.ffn, a.layers[like].window});
    }
    return out;
}

Space complete(Space space, const model::Architecture& a) {
    const ModelShape most = largest(a);
    if (space.layers.empty()) {
        for (int64_t l = most.layers; l > std::max<int64_t>(0, most.layers - 4); --l)
            space.layers.push_back(l);
    }
    if (space.hidden.empty()) space.hidden = narrower(most.hidden);
    if (space.kv_heads.empty()) space.kv_heads = {most.kv_heads};
    if (space.heads.empty()) {
        const int64_t group = most.heads / most.kv_heads;
        for (int64_t g = group; g > 0 && 2 * g >= group; --g) {
            for (const int64_t kv : space.kv_heads) space.heads.push_back(g * kv);
        }
    }
    if (space.ffn.empty() && space.ffn_ratio.empty()) {
        const double ratio = static_cast<double>(most.ffn) / static_cast<double>(most.hidden);
        for (const double eighths : {8, 7, 6, 5}) space.ffn_ratio.push_back(ratio * eighths / 8);
    }
    return space;
}

std::vector<ModelShape> shapes(const Space& space, const model::Architecture& a) {
    const ModelShape most = largest(a);
    const int64_t group = most.heads / most.kv_heads;
    check_list(space.layers, most.layers, "--layers", "layers");
    check_list(space.hidden, most.hidden, "--hidden", "channels");
    check_list(space.heads, most.heads, "--heads", "query heads");
    check_list(space.kv_heads, most.kv_heads, "--kv-heads", "KV heads");
    check_list(space.ffn, most.ffn, "--ffn", "neurons in a layer");
    for (const double r : space.ffn_ratio) {
        ESPALIER_REQUIRE(r > 0, "--ffn-ratio {}: it must be positive", r);
        ESPALIER_REQUIRE(r <= static_cast<double>(most.ffn),
                         "--ffn-ratio {}: the model has {} neurons in a layer, and pruning adds none", r,
                         most.ffn);
    }

    std::vector<ModelShape> out;
    const auto add = [&](ModelShape s) {
        const bool fits = s.heads % s.kv_heads == 0 && s.heads / s.kv_heads <= group && s.ffn <= most.ffn;
        if (fits) out.push_back(s);
    };
    for (const int64_t layers : space.layers) {
        for (const int64_t hidden : space.hidden) {
            for (const int64_t heads : space.heads) {
                for (const int64_t kv : space.kv_heads) {
                    for (const int64_t f : space.ffn) add({layers, hidden, heads, kv, f});
                    for (const double r : space.ffn_ratio)
                        add({layers, hidden, heads, kv, neurons(r, hidden)});
                }
            }
        }
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

}  // namespace espalier::search
