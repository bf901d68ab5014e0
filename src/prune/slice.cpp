#include "src/prune/slice.hpp"

#include <cstring>

namespace espalier::prune {

std::vector<std::vector<int64_t>> kept_indices(const model::Architecture& source, const Kept& kept,
                                               const model::Parameter& cut) {
    using model::Axis;
    const auto layer = static_cast<size_t>(cut.layer < 0 ? 0 : cut.layer);
    const auto all = [](int64_t n) {
        std::vector<int64_t> out;
        for (int64_t i = 0; i < n; ++i) out.push_back(i);
        return out;
    };
    std::vector<std::vector<int64_t>> out;
    for (const Axis axis : cut.axes) {
        switch (axis) {
            case Axis::hidden:
                out.push_back(kept.channels);
                break;
            case Axis::ffn:
                out.push_back(kept.ffn[layer]);
                break;
            case Axis::query_head:
                out.push_back(kept.heads[layer]);
                break;
            case Axis::kv_head:
                out.push_back(kept.kv_heads[layer]);
                break;
            case Axis::head_dim:
                out.push_back(all(source.head_dim));
                break;
            case Axis::vocab:
                out.push_back(all(source.vocab));
                break;
        }
    }
    return out;
}

std::string source_name(const Kept& kept, const model::Parameter& cut,
                        const std::vector<model::Parameter>& source) {
    const int64_t layer = cut.layer < 0 ? -1 : kept.layers.at(static_cast<size_t>(cut.layer));
    for (const auto& p : source) {
        if (p.weight == cut.weight && p.layer == layer) return p.name;
    }
    throw InternalError("a cut model has a weight that its source lacks: " + cut.name);
}

void take(const Tensor& x, const std::vector<std::vector<int64_t>>& indices, Tensor& out) {
    const size_t element = size_of(x.dtype()), axes = x.rank();
    const std::byte* from = x.raw();
    std::byte* to = out.raw();
    const int64_t row_elements = x.dim(0) == 0 ? 0 : x.size() / x.dim(0);
    // The last axis is taken in runs, which for channels kept in order are long.
    const std::vector<Range> last = axes > 1 ? runs(indices.back()) : std::vector<Range>{{0, 1}};
    const std::vector<int64_t> one{0};
    const auto& middle = axes > 2 ? indices[1] : one;
    const int64_t width = axes > 1 ? x.dim(axes - 1) : 1;
    for (const int64_t r : indices[0]) {
        for (const int64_t m : middle) {
            const std::byte* row = from + static_cast<size_t>(r * row_elements + m * width) * element;
            for (const Range& run : last) {
                const size_t bytes = static_cast<size_t>(run.size()) * element;
                std::memcpy(to, row + static_cast<size_t>(run.begin) * element, bytes);
                to += bytes;
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
