#include "src/train/shards.hpp"

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

Shards make_shards(const model::ParameterSet& set, const comm::Communicator& replicas) {
    Shards out{{}, replicas.rank()};
    for (int r = 0; r < replicas.size(); ++r)
        out.bounds.push_back(border(set, split_evenly(set.flat_size(), replicas.size(), r).begin));
    out.bounds.push_back(set.flat_size());
    return out;
}

}  // namespace espalier::train
