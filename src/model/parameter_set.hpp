// One rank's weights: views into one flat buffer, in the order of the table.
#pragma once

#include <vector>

#include "src/core/context.hpp"
#include "src/model/placement.hpp"

namespace espalier::model {

struct Entry {
    Parameter parameter;
    Box local;       ///< what this rank holds of the global weight
    Box owned;       ///< what it alone answers for, inside local; may be empty
    int64_t offset;  ///< of its first element in the flat buffers
    int64_t size() const { return local.size(); }
    /// Owned elements are whole rows of the local block: all of them, or of KV heads the ones that no lower
    /// rank holds.
    Range owned_rows() const {
        const int64_t begin = owned.offset[0] - local.offset[0];
        return {begin, begin + owned.count[0]};
    }
    int64_t row_size() const { return local.count[0] == 0 ? 0 : size() / local.count[0]; }
    /// The local rows that lie in a run of elements of the flat buffers that cuts none.
    Range rows_in(Range elements) const;
};

/// Flat buffers of other dtypes (gradients, optimizer state) use the same offsets.
class ParameterSet {
public:
    ParameterSet(Context& ctx, const Architecture& a, const Placement& placement, DType dtype);
    /// Weights of no architecture, which every rank holds whole.
    ParameterSet(Context& ctx, const std::vector<Parameter>& weights, DType dtype);

    const std::vector<Entry>& entries() const { return entries_; }
    Tensor& flat() { return flat_; }
    const Tensor& flat() const { return flat_; }
    int64_t flat_size() const { return flat_.size(); }
    DType dtype() const { return flat_.dtype(); }

    /// Entry of a weight; nullptr where this rank or architecture has none.
    const Entry* find(Weight weight, int64_t layer = -1) const;
    /// The part of a flat buffer that is this entry, in its local shape; empty for nullptr.
    static Tensor view(const Tensor& flat, const Entry* entry);
    /// From `first` on, `rows` x `columns` elements of a flat buffer: several entries as one matrix. Empty
    /// for nullptr.
    static Tensor matrix(const Tensor& flat, const Entry* first, int64_t rows, int64_t columns);

private:
    std::vector<Entry> entries_;
    Tensor flat_;
};

}  // namespace espalier::model
