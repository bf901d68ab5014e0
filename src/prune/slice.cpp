#include "src/prune/slice.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "src/core/bfloat16.hpp"
#include "src/core/error.hpp"
#include "src/prune/choose.hpp"

namespace espalier::prune {
namespace {

using model::Axis;
using model::Weight;

/// The cross product of two lists of indices, flattened: i * width + j.
std::vector<int64_t> product(const std::vector<int64_t>& outer, const std::vector<int64_t>& inner,
                             int64_t width) {
    std::vector<int64_t> out;
    out.reserve(outer.size() * inner.size());
    for (const int64_t i : outer) {
        for (const int64_t j : inner) out.push_back(i * width + j);
    }
    return out;
}

/// What the axes of one weight keep.
class Axes {
public:
    Axes(const model::Architecture& source, const Kept& kept, const model::Parameter& cut)
        : source_(source), kept_(kept), layer_(static_cast<size_t>(std::max<int64_t>(0, cut.layer))) {}

    std::vector<int64_t> of(Axis axis) const {
        switch (axis) {
            case Axis::vocab:
                return kept_.vocab;
            case Axis::hidden:
                return kept_.channels;
            case Axis::ffn:
                return kept_.ffn[layer_];
            case Axis::query_head:
                return kept_.heads[layer_];
            case Axis::kv_head:
                return kept_.kv_heads[layer_];
            case Axis::head_dim:
                break;  // it depends on the head
        }
        throw InternalError("an axis whose indices are not those of a whole layer");
    }

    bool cuts_head_dim() const { return !kept_.head_dims.empty(); }

    std::vector<int64_t> dims(const HeadDims* head, bool value) const {
        if (head == nullptr) return first_of(source_.head_dim);
        return value ? head->value : head->query_key;
    }

    /// Of the KV group that a query head, or a KV head, of the source belongs to; nullptr where all dims
    /// stay.
    const HeadDims* of_head(Axis axis, int64_t head) const {
        if (!cuts_head_dim()) return nullptr;
        const int64_t group = axis == Axis::kv_head ? head : head / source_.group(kept_.layers[layer_]);
        const auto& groups = kept_.kv_heads[layer_];
        const auto at = std::lower_bound(groups.begin(), groups.end(), group) - groups.begin();
        return &kept_.head_dims[layer_][at];
    }

    /// Of a weight that all heads of a layer have in common: where there is one, all their dims are turned,
    /// and of those every group keeps the same (model::check).
    std::vector<int64_t> common_dims() const {
        return dims(cuts_head_dim() ? &kept_.head_dims[layer_].front() : nullptr, false);
    }

    /// Columns of the output projection: dims of query heads.
    std::vector<int64_t> head_outputs() const {
        std::vector<int64_t> out;
        for (const int64_t h : kept_.heads[layer_]) {
            for (const int64_t d : dims(of_head(Axis::query_head, h), true))
                out.push_back(h * source_.head_dim + d);
        }
        return out;
    }

private:
    const model::Architecture& source_;
    const Kept& kept_;
    size_t layer_;
};

bool is_value(Weight weight) {
    return weight == Weight::value || weight == Weight::value_bias;
}
bool is_query(Weight weight) {
    return weight == Weight::query || weight == Weight::query_bias;
}
bool is_key_or_value(Weight weight) {
    return is_value(weight) || weight == Weight::key || weight == Weight::key_bias;
}

/// Whether a weight gives queries their scale: the projection, or the norm behind it.
bool scales_queries(const model::Architecture& a, Weight weight) {
    return a.qk_norm_eps ? weight == Weight::query_norm : is_query(weight);
}

std::vector<Slices::Combination> combinations(const model::Architecture& source, const Kept& kept,
                                              const model::Parameter& cut, const std::vector<int64_t>& rows) {
    std::vector<Slices::Combination> out;
    const auto layer = static_cast<size_t>(std::max<int64_t>(0, cut.layer));
    // Where each query head has its own KV head, a head is all three; else only queries differ in a group.
    const bool paired =
        kept.residual != HeadResidual::off &&
        (is_query(cut.weight) || (is_key_or_value(cut.weight) && source.group(kept.layers[layer]) == 1));
    const bool scaled =
        scales_queries(source, cut.weight) && !kept.head_dims.empty() && source.query_scalar == 0;
    if (!paired && !scaled) return out;
    for (const int64_t row : rows) {
        auto& c = out.emplace_back();
        const auto pair = paired ? std::find_if(kept.pairs[layer].begin(), kept.pairs[layer].end(),
                                                [&](const HeadPair& p) { return p.kept == row; })
                                 : std::vector<HeadPair>::const_iterator{};
        if (paired && pair != kept.pairs[layer].end()) {
            c = kept.residual == HeadResidual::paper ? Slices::Combination{2, -1, pair->dropped}
                                                     : Slices::Combination{0, 1, pair->dropped};
        }
        if (scaled) {
            const double scale = std::sqrt(static_cast<double>(kept.head_dims[0][0].value.size()) /
                                           static_cast<double>(source.head_dim));
            c.own *= scale;
            c.other *= scale;
        }
    }
    return out;
}

float load(const std::byte* at, DType dtype) {
    if (dtype == DType::f32) {
        float v;
        std::memcpy(&v, at, sizeof v);
        return v;
    }
    bfloat16 v;
    std::memcpy(&v, at, sizeof v);
    return static_cast<float>(v);
}

void store(float v, std::byte* at, DType dtype) {
    if (dtype == DType::f32) {
        std::memcpy(at, &v, sizeof v);
        return;
    }
    const bfloat16 rounded(v);
    std::memcpy(at, &rounded, sizeof rounded);
}

}  // namespace

Slices slices(const model::Architecture& source, const Kept& kept, const model::Parameter& cut) {
    const Axes axes(source, kept, cut);
    Slices out;
    out.rows = cut.axes[0] == Axis::head_dim ? axes.common_dims() : axes.of(cut.axes[0]);
    out.combinations = combinations(source, kept, cut, out.rows);
    if (cut.axes.size() == 1) {
        out.elements.push_back({{0, 1}});
    } else if (cut.weight == Weight::attention_out) {
        out.elements.push_back(runs(axes.head_outputs()));
    } else if (cut.axes[1] != Axis::head_dim) {
        out.elements.push_back(runs(axes.of(cut.axes[1])));
    } else {
        // A row is a head: dims, times channels where it is no bias.
        const bool bias = cut.axes.size() == 2;
        const std::vector<int64_t> inner = bias ? std::vector<int64_t>{0} : axes.of(Axis::hidden);
        const auto row = [&](const HeadDims* head) {
            return runs(product(axes.dims(head, is_value(cut.weight)), inner, bias ? 1 : source.hidden));
        };
        if (!axes.cuts_head_dim()) {
            out.elements.push_back(row(nullptr));
        } else {
            for (const int64_t h : out.rows) out.elements.push_back(row(axes.of_head(cut.axes[0], h)));
        }
    }
    return out;
}

const model::Parameter& source_of(const Kept& kept, const model::Parameter& cut,
                                  const std::vector<model::Parameter>& source) {
    const int64_t layer = cut.layer < 0 ? -1 : kept.layers.at(static_cast<size_t>(cut.layer));
    const auto find = [&](Weight weight) {
        return std::find_if(source.begin(), source.end(), [&](const model::Parameter& p) {
            return p.weight == weight && p.layer == layer;
        });
    };
    auto found = find(cut.weight);
    if (found == source.end() && cut.weight == Weight::head) found = find(Weight::token_embedding);
    if (found != source.end()) return *found;
    throw InternalError("a cut model has a weight that its source lacks: " + cut.name);
}

void take(const Tensor& x, int64_t first_row, const Slices& slices, Range kept,
          const std::function<Tensor(int64_t row)>& row, Tensor& out) {
    const DType dtype = x.dtype();
    const size_t element = size_of(dtype);
    const auto row_bytes = static_cast<size_t>(x.row_elements()) * element;
    std::byte* to = out.raw();
    for (int64_t k = kept.begin; k < kept.end; ++k) {
        const std::byte* own = x.raw() + static_cast<size_t>(slices.rows[k] - first_row) * row_bytes;
        const auto c = slices.combinations.empty() ? Slices::Combination{} : slices.combinations[k];
        if (c.plain()) {
            for (const Range& run : slices.runs_of(k)) {
                const size_t bytes = static_cast<size_t>(run.size()) * element;
                std::memcpy(to, own + static_cast<size_t>(run.begin) * element, bytes);
                to += bytes;
            }
            continue;
        }
        const Tensor partner = c.partner >= 0 ? row(c.partner) : Tensor();
        const std::byte* other = c.partner >= 0 ? partner.raw() : own;
        for (const Range& run : slices.runs_of(k)) {
            for (int64_t i = run.begin; i < run.end; ++i, to += element) {
                const size_t at = static_cast<size_t>(i) * element;
                store(static_cast<float>(c.own) * load(own + at, dtype) +
                          static_cast<float>(c.other) * load(other + at, dtype),
                      to, dtype);
            }
        }
    }
    ESPALIER_ASSERT(to == out.raw() + out.bytes());
}

std::vector<Range> runs(const std::vector<int64_t>& ascending) {
    std::vector<Range> out;
    for (const int64_t i : ascending) {
        if (!out.empty() && out.back().end == i) {
            ++out.back().end;
        } else {
            out.push_back({i, i + 1});
        }
    }
    return out;
}

}  // namespace espalier::prune
