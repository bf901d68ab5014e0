#include "src/prune/mask.hpp"

#include <algorithm>
#include <cmath>

#include "src/core/error.hpp"

namespace espalier::prune {
namespace {

using model::Weight;

std::vector<bool> flags(const std::vector<int64_t>& kept, int64_t count) {
    std::vector<bool> out(static_cast<size_t>(count), false);
    for (const int64_t i : kept) out[i] = true;
    return out;
}

/// One weight of this rank; `data` is nullptr where it has nothing of it.
struct View {
    float* data = nullptr;
    const Box* local = nullptr;

    /// change(value, place in the global weight, an index an axis) for each element.
    template <class F>
    void each(F change) const {
        if (data == nullptr) return;
        Shape place = local->offset;
        for (float* at = data; at != data + local->size(); ++at) {
            change(*at, place);
            for (size_t axis = place.size(); axis-- > 0;) {
                if (++place[axis] < local->offset[axis] + local->count[axis]) break;
                place[axis] = local->offset[axis];
            }
        }
    }
};

/// Of the dims of a head, those of queries and keys that stay.
double kept_dims_share(const model::Architecture& source, const Kept& kept) {
    if (kept.head_dims.empty()) return 1;
    return static_cast<double>(kept.head_dims.front().front().query_key.size()) /
           static_cast<double>(source.head_dim);
}

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
                clear(w, l);
            return;
        }
        const auto k = static_cast<size_t>(at - kept_.layers.begin());
        heads(l, k);
        const auto neuron = flags(kept_.ffn[k], source_.layers[l].ffn);
        zero_unless(Weight::down, l, 1, neuron);
        for (const Weight w : {Weight::attention_out, Weight::down}) write_channels(w, l);
        for (const Weight w : {Weight::attention_out_bias, Weight::down_bias}) write_channels(w, l);
        for (const Weight w :
             {Weight::attention_norm, Weight::attention_post_norm, Weight::mlp_norm, Weight::mlp_post_norm})
            gain(w, l);
        for (const Weight w : {Weight::attention_norm_bias, Weight::mlp_norm_bias})
            zero_unless(w, l, 0, channel_);
    }

    void embedding() {
        zero_unless(Weight::token_embedding, -1, 1, channel_);
        if (!centred()) return;
        const View e = view(Weight::token_embedding, -1);
        if (e.data == nullptr) return;
        const int64_t hidden = source_.hidden;
        for (int64_t row = 0; row < e.local->count[0]; ++row) centre(e.data + row * hidden, 1);
    }

    void final_norm() {
        gain(Weight::final_norm, -1);
        zero_unless(Weight::final_norm_bias, -1, 0, channel_);
    }

private:
    View view(Weight weight, int64_t layer) {
        const auto* entry = set_.find(weight, layer);
        if (entry == nullptr || entry->size() == 0) return {};
        return {model::ParameterSet::view(set_.flat(), entry).data<float>(), &entry->local};
    }

    void clear(Weight weight, int64_t layer) {
        view(weight, layer).each([](float& v, const Shape&) { v = 0; });
    }

    /// Zeroes what of a weight stands at an index of this axis that is not kept.
    void zero_unless(Weight weight, int64_t layer, size_t axis, const std::vector<bool>& kept) {
        view(weight, layer).each([&](float& v, const Shape& place) {
            if (!kept[place[axis]]) v = 0;
        });
    }

    /// The same of a head's dim, where the two follow each other.
    void zero_unless_dim(Weight weight, int64_t layer, size_t head_axis, const std::vector<bool>& kept) {
        view(weight, layer).each([&](float& v, const Shape& place) {
            if (!kept[place[head_axis] * source_.head_dim + place[head_axis + 1]]) v = 0;
        });
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
        zero_unless(weight, l, 0, channel_);
        const int64_t columns = w.local->size() / source_.hidden;
        if (!centred()) return;
        for (int64_t j = 0; j < columns; ++j) centre(w.data + j, columns);
    }

    void heads(int64_t l, size_t k) {
        const auto& width = source_.layers[l];
        const int64_t group = source_.group(l), dims = source_.head_dim;
        std::vector<bool> query_kept(static_cast<size_t>(width.query_heads * dims), false),
            value_kept = query_kept;
        for (const int64_t h : kept_.heads[k]) {
            const auto kv = std::lower_bound(kept_.kv_heads[k].begin(), kept_.kv_heads[k].end(), h / group) -
                            kept_.kv_heads[k].begin();
            for (int64_t d = 0; d < dims; ++d) {
                const bool whole = kept_.head_dims.empty();
                const auto stays = [&](const std::vector<int64_t> HeadDims::*list) {
                    if (whole) return true;
                    const auto& kept = kept_.head_dims[k][kv].*list;
                    return std::binary_search(kept.begin(), kept.end(), d);
                };
                query_kept[h * dims + d] = stays(&HeadDims::query_key);
                value_kept[h * dims + d] = stays(&HeadDims::value);
            }
        }
        for (const Weight w : {Weight::query, Weight::query_bias}) zero_unless_dim(w, l, 0, query_kept);
        if (source_.qk_norm_eps && !kept_.head_dims.empty()) qk_norms(l, k);
        zero_unless_dim(Weight::attention_out, l, 1, value_kept);
    }

    /// Norms over all dims of a head become norms over those that stay, which are the same in every head:
    /// what goes is zero in keys too, and the gain makes up for the larger count.
    void qk_norms(int64_t l, size_t k) {
        const auto& dims = kept_.head_dims[k].front().query_key;
        const auto stays = flags(dims, source_.head_dim);
        for (const Weight w : {Weight::key, Weight::key_bias}) zero_unless(w, l, 1, stays);
        const double scale = std::sqrt(kept_dims_share(source_, kept_));
        for (const Weight w : {Weight::query_norm, Weight::key_norm}) {
            view(w, l).each([&](float& v, const Shape&) { v = static_cast<float>(scale * double{v}); });
        }
    }

    /// Of a norm over the channels.
    void gain(Weight weight, int64_t l) {
        if (share_ == 1) return;
        const double scale = std::sqrt(share_), one = source_.norm.gain == Gain::weight ? 0.0 : 1.0;
        view(weight, l).each([&](float& v, const Shape& place) {
            v = static_cast<float>((channel_[place[0]] ? scale * (one + double{v}) : 0.0) - one);
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
    if (out.qk_norm_eps)
        out.qk_norm_eps = static_cast<float>(double{*out.qk_norm_eps} * kept_dims_share(source, kept));
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

Kept combined_heads_only(const model::Architecture& source, const Kept& kept) {
    Kept out = keep_all(source);
    if (kept.residual == HeadResidual::off) return out;
    out.residual = kept.residual;
    out.pairs.resize(out.layers.size());
    for (size_t k = 0; k < kept.layers.size(); ++k) out.pairs[kept.layers[k]] = kept.pairs[k];
    return out;
}

}  // namespace espalier::prune
