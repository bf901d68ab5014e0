// What a pass goes through.
#pragma once

#include "src/core/tensor.hpp"

namespace espalier::model {

/// The tokens of one micro-batch: `batch` sequences of `seq` tokens, one after another.
struct TokenBatch {
    int64_t batch = 0;
    int64_t seq = 0;
    Tensor ids;                ///< [tokens] i32
    Tensor positions;          ///< [tokens] i32
    int64_t end_position = 0;  ///< beyond every position
    /// [tokens] i32: where each token's document starts in its sequence, before which it sees nothing; empty:
    /// a sequence is one document. Positions go on through a sequence: attention is turned by differences
    /// of positions alone.
    Tensor starts = {};
    int64_t tokens() const { return batch * seq; }
};

}  // namespace espalier::model
