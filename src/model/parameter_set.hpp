// One rank's weights: views into one flat buffer, in the order of the table.
#pragma once

#include <vector>

#include "src/comm/request.hpp"
#include "src/core/context.hpp"
#include "src/model/placement.hpp"

namespace espalier::model {

struct Entry {
    Parameter parameter;
    Box local;       ///< what this rank holds of the global weight
    Box owned;       ///< what it alone answers for, inside local; may be empty
    int64_t offset;  ///< of its first element in the flat buffers
    int64_t part;    ///< Part::layer of the part that it belongs to
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

/// A run of the flat buffers whose weights a pass comes to together, and whose gradients it ends together.
struct Part {
    int64_t layer;  ///< -1: the embedding; the model's depth: what comes after its last layer
    Range elements;
};

/// Flat buffers of other dtypes (gradients, optimizer state) use the same offsets.
class ParameterSet {
public:
    ParameterSet(Context& ctx, const Architecture& a, const Placement& placement, DType dtype);
    /// Weights of no architecture, which every rank holds whole.
    ParameterSet(Context& ctx, const std::vector<Parameter>& weights, DType dtype);

    const std::vector<Entry>& entries() const { return entries_; }
    /// All of the flat buffers, in their order; none where there is no architecture.
    const std::vector<Part>& parts() const { return parts_; }

    /// Other ranks send this run of the weights; it is there when the request has ended. flat() and weight()
    /// wait for what they give; who keeps a view calls one of the next two before each use.
    void expect(Range elements, comm::Request request);
    void wait_for(Range elements) const;
    void wait_for_part(int64_t layer) const;

    Tensor& flat() {
        wait_for({0, flat_.size()});
        return flat_;
    }
    const Tensor& flat() const {
        wait_for({0, flat_.size()});
        return flat_;
    }
    int64_t flat_size() const { return flat_.size(); }
    DType dtype() const { return flat_.dtype(); }

    /// Entry of a weight; nullptr where this rank or architecture has none.
    const Entry* find(Weight weight, int64_t layer = -1) const;
    /// The weight in its local shape; empty where this rank or architecture has none.
    Tensor weight(Weight weight, int64_t layer = -1) const;
    /// The part of a flat buffer that is this entry, in its local shape; empty for nullptr.
    static Tensor view(const Tensor& flat, const Entry* entry);
    /// From `first` on, `rows` x `columns` elements of a flat buffer: several entries as one matrix. Empty
    /// for nullptr.
    static Tensor matrix(const Tensor& flat, const Entry* first, int64_t rows, int64_t columns);

private:
    struct Expected {
        Range elements;
        comm::Request request;
    };
    std::vector<Entry> entries_;
    std::vector<Part> parts_;
    Tensor flat_;
    mutable std::vector<Expected> expected_;
};

}  // namespace espalier::model
