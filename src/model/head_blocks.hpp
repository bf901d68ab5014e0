// How much of a micro-batch's logits exists at a time.
#pragma once

#include <vector>

#include "src/core/exact.hpp"
#include "src/model/architecture.hpp"

namespace espalier::model {

/// Blocks of tokens of nearly equal size over a rank's whole vocabulary, the same on all ranks: at most 16
/// MiB of f32 and 2048 tokens, but about 228 tokens in bf16 and in f32 a ninth of all, between 114 and 228,
/// where that is more (benchmarks/results/zen4-2cores.md). So a large vocabulary's logits take less than an
/// eighth of all from 2048 tokens on, in f32 from 1024. On a GPU at most 1 GiB and 8192 tokens: what the head
/// costs for each block takes an H100 as long as the products of some 400 tokens.
std::vector<Range> logit_blocks(const Architecture& a, Device device, DType dtype, int tp, int64_t tokens);

/// Where nothing waits for the whole vocabulary: blocks of tokens of up to 2048 (8192 on a GPU), and in how
/// many parts of their vocabulary all ranks take them, so that logits take 8 MiB (1 GiB): a product of 170
/// tokens with a head of 49152 x 576 runs at 0.8 of the rate of one of 2048 tokens with 4096 rows of it.
std::vector<Range> loss_blocks(Device device, int64_t tokens);
int64_t loss_parts(const Architecture& a, Device device, int tp, int64_t rows);

/// How the head of a training step goes through a micro-batch; the same on all ranks of a tensor group that
/// agree on `storage`.
struct HeadBlocks {
    /// What becomes of a part's logits between the pass that reads their statistics and the one that makes
    /// their gradient.
    enum class Storage { kept, computed_again };

    std::vector<Range> tokens;  ///< blocks of them, of nearly equal size
    int64_t parts = 1;          ///< of each rank's vocabulary
    Storage storage = Storage::kept;
};

/// What suits this processor or device: where it multiplies faster than it reads what it multiplies (AMX
/// tiles), products are cheaper done again in a cache than their results kept in memory.
HeadBlocks::Storage head_storage(Device device, DType dtype);

/// Kept: blocks of tokens as logit_blocks gives them, in parts as loss_parts does, so that their gradient
/// never takes more than one part's memory. Computed again: blocks of up to 512 tokens, in parts of 1024 ids
/// or more that a cache holds.
HeadBlocks head_blocks(const Architecture& a, Device device, DType dtype, int tp, int64_t tokens,
                       HeadBlocks::Storage storage);

}  // namespace espalier::model
