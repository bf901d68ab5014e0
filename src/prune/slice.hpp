// Cutting one weight: which rows and which of their elements stay, and what they are made of.
#pragma once

#include <functional>

#include "src/core/tensor.hpp"
#include "src/model/parameters.hpp"
#include "src/prune/kept.hpp"

namespace espalier::prune {

/// How the rows of a cut weight (indices of its first axis) come from those of the source weight.
struct Slices {
    /// cut row = own * source row + other * the source's row `partner`
    struct Combination {
        double own = 1, other = 0;
        int64_t partner = -1;  ///< where other is not 0
        bool plain() const { return own == 1 && other == 0; }
    };

    std::vector<int64_t> rows;  ///< source rows that stay, ascending
    std::vector<std::vector<Range>>
        elements;                           ///< runs of a flattened source row: one list, or one a kept row
    std::vector<Combination> combinations;  ///< one a kept row, or none where all are plain

    const std::vector<Range>& runs_of(int64_t row) const {
        return elements[elements.size() == 1 ? 0 : static_cast<size_t>(row)];
    }
};

/// Of a weight of the *cut* model. Queries (where heads are normed, the weight of that norm) are scaled by
/// sqrt(cut head_dim / head_dim), so that scores divided by sqrt(cut head_dim) are the source's; residual
/// heads are combined.
Slices slices(const model::Architecture& source, const Kept& kept, const model::Parameter& cut);

/// The source weight that a weight of the cut model comes from. An untied head of a tied source comes from
/// the token embedding.
const model::Parameter& source_of(const Kept& kept, const model::Parameter& cut,
                                  const std::vector<model::Parameter>& source);

/// out = rows `kept` (indices into slices.rows) of a cut weight. `x` holds source rows from first_row on, all
/// that `kept` needs; partners are asked for with `row`, a tensor of one source row. Of one dtype, f32 or
/// bf16, on the host; combinations are computed in f32.
void take(const Tensor& x, int64_t first_row, const Slices& slices, Range kept,
          const std::function<Tensor(int64_t row)>& row, Tensor& out);

/// Contiguous runs of ascending indices, so that memory is copied in large pieces.
std::vector<Range> runs(const std::vector<int64_t>& ascending);

}  // namespace espalier::prune
