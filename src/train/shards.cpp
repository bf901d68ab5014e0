#include "src/train/shards.hpp"

#include <algorithm>

namespace espalier::train {
namespace {

/// The first place at or after `element` where no row is cut.
int64_t border(const model::ParameterSet& set, int64_t element) {
    for (const auto& e : set.entries()) {
        if (element <= e.offset) return element;
        if (const int64_t row = e.row_size(); row > 0 && element < e.offset + e.size())
            return e.offset + div_ceil(element - e.offset, row) * row;
    }
    return element;
}

}  // namespace

std::vector<int64_t> Shards::bounds_in(Range elements) const {
    std::vector<int64_t> out;
    for (const int64_t bound : bounds)
        out.push_back(std::clamp(bound, elements.begin, elements.end) - elements.begin);
    return out;
}

Shards make_shards(const model::ParameterSet& set, const comm::Communicator& replicas) {
    Shards out{{}, replicas.rank()};
    for (int r = 0; r < replicas.size(); ++r)
        out.bounds.push_back(border(set, split_evenly(set.flat_size(), replicas.size(), r).begin));
    out.bounds.push_back(set.flat_size());
    return out;
}

FlatRuns runs_of_share(Context& ctx, const model::ParameterSet& set, const Shards& shards) {
    std::vector<FlatRun> runs;
    for (const auto& e : set.entries()) {
        const Range part = intersection(shards.mine(), {e.offset, e.offset + e.size()});
        if (part.size() > 0)
            runs.push_back({part.begin - shards.mine().begin, part.size(),
                            e.parameter.decay == model::Decay::yes ? 1.0f : 0.0f});
    }
    return {ctx, std::move(runs)};
}

FlatRuns runs_owned(Context& ctx, const model::ParameterSet& set, const Shards& shards) {
    std::vector<FlatRun> runs;
    for (const auto& e : set.entries()) {
        const Range rows = intersection(e.owned_rows(), e.rows_in(shards.mine()));
        if (e.owned.size() == 0 || rows.size() == 0) continue;
        runs.push_back({e.offset + rows.begin * e.row_size(), rows.size() * e.row_size()});
    }
    return {ctx, std::move(runs)};
}

}  // namespace espalier::train
