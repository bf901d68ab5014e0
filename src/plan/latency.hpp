// How long a served model takes for a token. Sources of the formulas: docs/planner.md.
#pragma once

#include "src/model/architecture.hpp"
#include "src/plan/system.hpp"

namespace espalier::plan {

/// How a model is served: the sequences that generate together, each with so many tokens behind it, on ranks
/// that split the model tensor parallel.
struct Serving {
    int64_t batch = 1;
    int64_t seq_len = 4096;
    int64_t tp = 1;
    DType dtype = DType::bf16;  ///< of weights, cache and products
};

/// Seconds from one token of every sequence to the next. A product takes its FLOPs at the system's best rate
/// or the reading of its weights, whichever is longer (Williams et al. 2009; for decoding Pope et al. 2022,
/// arXiv 2211.05102); attention reads the keys and values of all tokens before; each layer sums twice over
/// the ranks, one whose attention and MLP stand side by side once. Kernels are started from a recorded graph:
/// the host's time to start them does not count.
double seconds_per_token(const System& system, const model::Architecture& a, const Serving& serving);

}  // namespace espalier::plan
