#include "src/prune/mask.hpp"

#include <algorithm>
#include <cmath>

#include "src/core/error.hpp"

namespace espalier::prune {
namespace {

using model::Weight;

std::vector<bool> flags(const std::vector<int64_t>& kept, int64_t count) {
    std::vector<bool> out(static_cast<size_t>(count), false);
    for (const int64_t i : kept) out[static_cast<size_t>(i)] = true;
    return out;
}

bool has(const std::vector<bool>& flags, int64_t i) {
    return flags[static_cast<size_t>(i)];
}

/// One weight of this rank: its elements by their place in the global weight.
struct View {
    float* data;
    const Box* local;

    /// change(value, i0, i1, i2) for each element; missing axes are 0.
    template <class F>
    void each(F change) const {
        const auto& c = local->count;
        const auto& o = local->offset;
        const auto axis = [&](size_t a) { return a < c.size() ? c[a] : 1; };
        const auto start = [&](size_t a) { return a < o.size() ? o[a] : 0; };
        float* at = data;
        for (int64_t i = 0; i < axis(0); ++i) {
            for (int64_t j = 0; j < axis(1); ++j) {
                for (int64_t k = 0; k < axis(2); ++k) change(*at++, i + start(0), j + start(1), k + start(2));
            }
        }
    }
};

class Mask {
public:
    Mask(model::Transformer& model, const model::Architecture& source, const Kept& kept)
        : set_(model.parameters()),
          source_(source),
          kept_(kept),
          channel_(flags(kept.channels, source.hidden)),
          share_(static_cast<double>(kept.channels.size()) / static_cast<double>(source.hidden)) {
        ESPALIER_ASSERT(model.dtype() == DType::f32);
    }

    void layer(int64_t l) {
        const auto at = std::lower_bound(kept_.layers.begin(), kept_.layers.end(), l);
        if (at == kept_.layers.end() || *at != l) {
            for (const Weight w :
                 {Weight::attention_out, Weight::attention_out_bias, Weight::down, Weight::down_bias})
                each(w, l, [](float& v, int64_t, int64_t, int64_t) { v = 0; });
            return;
        }
        const auto k = static_cast<size_t>(at - kept_.layers.begin());
        heads(l, k);
        const auto neuron = flags(kept_.ffn[k], source_.layers[static_cast<size_t>(l)].ffn);
        each(Weight::down, l, [&](float& v, int64_t, int64_t n, int64_t) {
            if (!has(neuron, n)) v = 0;
        });
        for (const Weight w : {Weight::attention_out, Weight::down}) write_channels(w, l);
        for (const Weight w : {Weight::attention_out_bias, Weight::down_bias}) write_channels(w, l);
        norm(Weight::attention_norm, Weight::attention_norm_bias, l);
        norm(Weight::mlp_norm, Weight::mlp_norm_bias, l);
    }

    void embedding() {
        each(Weight::token_embedding, -1, [&](float& v, int64_t, int64_t c, int64_t) {
            if (!has(channel_, c)) v = 0;
        });
        if (!centred()) return;
        const View e = view(Weight::token_embedding, -1);
        if (e.data == nullptr) return;
        const int64_t hidden = source_.hidden;
        for (int64_t row = 0; row < e.local->count[0]; ++row) centre(e.data + row * hidden, 1);
    }

    void final_norm() { norm(Weight::final_norm, Weight::final_norm_bias, -1); }

private:
    View view(Weight weight, int64_t layer) {
        const auto* entry = set_.find(weight, layer);
        if (entry == nullptr || entry->size() == 0) return {nullptr, nullptr};
        return {model::ParameterSet::view(set_.flat(), entry).data<float>(), &entry->local};
    }

    template <class F>
    void each(Weight weight, int64_t layer, F change) {
        const View v = view(weight, layer);
        if (v.data != nullptr) v.each(change);
    }

    bool centred() const { return source_.norm.kind == NormKind::layer && share_ < 1; }

    /// Takes the mean over the kept channels off them; `stride` between channels.
    void centre(float* x, int64_t stride) const {
        double sum = 0;
        for (const int64_t c : kept_.channels) sum += double{x[c * stride]};
        const double mean = sum / static_cast<double>(kept_.channels.size());
        for (const int64_t c : kept_.channels)
            x[c * stride] = static_cast<float>(double{x[c * stride]} - mean);
    }

    /// A weight whose first axis is the channels that it writes.
    void write_channels(Weight weight, int64_t l) {
        const View w = view(weight, l);
        if (w.data == nullptr || share_ == 1) return;
        w.each([&](float& v, int64_t c, int64_t, int64_t) {
            if (!has(channel_, c)) v = 0;
        });
        const int64_t columns = w.local->size() / source_.hidden;
        if (!centred()) return;
        for (int64_t j = 0; j < columns; ++j) centre(w.data + j, columns);
    }

    void heads(int64_t l, size_t k) {
        const auto& width = source_.layers[static_cast<size_t>(l)];
        const int64_t group = source_.group(l), dims = source_.head_dim;
        std::vector<bool> asked(static_cast<size_t>(width.query_heads * dims), false), told = asked;
        for (const int64_t h : kept_.heads[k]) {
            const auto kv = std::lower_bound(kept_.kv_heads[k].begin(), kept_.kv_heads[k].end(), h / group) -
                            kept_.kv_heads[k].begin();
            for (int64_t d = 0; d < dims; ++d) {
                const bool whole = kept_.head_dims.empty();
                const auto stays = [&](const std::vector<int64_t> HeadDims::*list) {
                    if (whole) return true;
                    const auto& kept = kept_.head_dims[k][static_cast<size_t>(kv)].*list;
                    return std::binary_search(kept.begin(), kept.end(), d);
                };
                asked[static_cast<size_t>(h * dims + d)] = stays(&HeadDims::query_key);
                told[static_cast<size_t>(h * dims + d)] = stays(&HeadDims::value);
            }
        }
        for (const Weight w : {Weight::query, Weight::query_bias}) {
            each(w, l, [&](float& v, int64_t h, int64_t d, int64_t) {
                if (!has(asked, h * dims + d)) v = 0;
            });
        }
        each(Weight::attention_out, l, [&](float& v, int64_t, int64_t h, int64_t d) {
            if (!has(told, h * dims + d)) v = 0;
        });
    }

    void norm(Weight gain, Weight bias, int64_t l) {
        if (share_ == 1) return;
        const double scale = std::sqrt(share_), one = source_.norm.gain == Gain::weight ? 0.0 : 1.0;
        each(gain, l, [&](float& v, int64_t c, int64_t, int64_t) {
            v = static_cast<float>((has(channel_, c) ? scale * (one + double{v}) : 0.0) - one);
        });
        each(bias, l, [&](float& v, int64_t c, int64_t, int64_t) {
            if (!has(channel_, c)) v = 0;
        });
    }

    model::ParameterSet& set_;
    const model::Architecture& source_;
    const Kept& kept_;
    std::vector<bool> channel_;
    double share_;  ///< of the channels that stay
};

}  // namespace

model::Architecture masked_architecture(const model::Architecture& source, const Kept& kept) {
    model::Architecture out = source;
    out.tied = false;
    out.norm.eps =
        static_cast<float>(static_cast<double>(source.norm.eps) * static_cast<double>(kept.channels.size()) /
                           static_cast<double>(source.hidden));
    return out;
}

void mask(model::Transformer& model, const model::Architecture& source, const Kept& kept) {
    Mask mask(model, source, kept);
    // What this rank does not have, it has no entry of.
    mask.embedding();
    const Range layers = model.placement().layers();
    for (int64_t l = layers.begin; l < layers.end; ++l) mask.layer(l);
    mask.final_norm();
}

Kept keep_all_but_combine(const model::Architecture& source, const Kept& kept) {
    Kept out = keep_all(source);
    if (kept.residual == HeadResidual::off) return out;
    out.residual = kept.residual;
    out.pairs.resize(out.layers.size());
    for (size_t k = 0; k < kept.layers.size(); ++k)
        out.pairs[static_cast<size_t>(kept.layers[k])] = kept.pairs[k];
    return out;
}

}  // namespace espalier::prune
