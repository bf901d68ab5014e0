#include "src/prune/slice.hpp"

#include <algorithm>
#include <cmath>

#include "src/core/bfloat16.hpp"
#include "src/core/error.hpp"
#include "src/prune/ranking.hpp"

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

/// What a kept head becomes of itself and of the dropped one that the residual gives it, if any.
Slices::Combination with_residual(const Kept& kept, size_t layer, int64_t head) {
    const auto& pairs = kept.pairs[layer];
    const auto pair =
        std::find_if(pairs.begin(), pairs.end(), [&](const HeadPair& p) { return p.kept == head; });
    if (pair == pairs.end()) return {};
    return kept.residual == HeadResidual::paper ? Slices::Combination{2, -1, pair->dropped}
                                                : Slices::Combination{0, 1, pair->dropped};
}

/// Scores are divided by the root of the heads' width, which a cut makes smaller: what queries are multiplied
/// with for it.
double query_scale(const model::Architecture& source, const Kept& kept) {
    if (kept.head_dims.empty() || source.query_scalar > 0) return 1;
    return std::sqrt(static_cast<double>(kept.head_dims[0][0].value.size()) /
                     static_cast<double>(source.head_dim));
}

std::vector<Slices::Combination> combinations(const model::Architecture& source, const Kept& kept,
                                              const model::Parameter& cut, const std::vector<int64_t>& rows) {
    const auto layer = static_cast<size_t>(std::max<int64_t>(0, cut.layer));
    // Where each query head has its own KV head, a head is all three; else only queries differ in a group.
    const bool paired =
        kept.residual != HeadResidual::off &&
        (is_query(cut.weight) || (is_key_or_value(cut.weight) && source.group(kept.layers[layer]) == 1));
    const double scale = scales_queries(source, cut.weight) ? query_scale(source, kept) : 1;
    std::vector<Slices::Combination> out;
    if (!paired && scale == 1) return out;
    for (const int64_t row : rows) {
        auto& c = out.emplace_back(paired ? with_residual(kept, layer, row) : Slices::Combination{});
        c.own *= scale;
        c.other *= scale;
    }
    return out;
}

/// own * c.own + other * c.other of a run of elements; the end of what it writes.
template <class T>
T* combine(const Slices::Combination& c, const T* own, const T* other, Range run, T* to) {
    const auto a = static_cast<float>(c.own), b = static_cast<float>(c.other);
    for (int64_t i = run.begin; i < run.end; ++i)
        *to++ = static_cast<T>(a * static_cast<float>(own[i]) + b * static_cast<float>(other[i]));
    return to;
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
    visit_float(x.dtype(), [&]<class T>(T) {
        T* to = out.data<T>();
        for (int64_t k = kept.begin; k < kept.end; ++k) {
            const T* const own = x.data<T>() + (slices.rows[k] - first_row) * x.row_elements();
            const auto c = slices.combinations.empty() ? Slices::Combination{} : slices.combinations[k];
            const Tensor partner = c.partner >= 0 ? row(c.partner) : Tensor();
            const T* const other = partner ? partner.data<T>() : own;
            for (const Range& run : slices.runs_of(k))
                to = c.plain() ? std::copy(own + run.begin, own + run.end, to)
                               : combine(c, own, other, run, to);
        }
        ESPALIER_ASSERT(to == out.data<T>() + out.size());
    });
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
