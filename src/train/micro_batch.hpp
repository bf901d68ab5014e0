// What a replica's pipeline works on at a time.
#pragma once

#include "src/model/token_batch.hpp"

namespace espalier::train {

struct MicroBatch {
    model::TokenBatch tokens;
    Tensor labels;             ///< [tokens] i32, on the model's device; < 0: the token is no part of a loss
    int64_t first_sample = 0;  ///< in the run's order
    int64_t scored = 0;        ///< labels that are not < 0; who does not weigh losses by it may leave it
};

}  // namespace espalier::train
