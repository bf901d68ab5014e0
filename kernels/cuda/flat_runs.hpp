// Flat runs on the GPU: what FlatRuns::on_device is there, a table of chunks, so that one launch walks them
// all.
#pragma once

#include "kernels/flat_runs.hpp"

namespace espalier::cuda {

/// Elements of flat buffers that one block of a kernel works on.
struct Chunk {
    int64_t begin;
    int32_t size;
    float weight_decay_factor;
};
/// Of a chunk, at most: a billion weights are 30 thousand blocks and half a megabyte of table.
constexpr int64_t chunk_size = 32768;

/// The runs' chunks in their order, on the device: u8, sizeof(Chunk) each. Waits for nothing.
Tensor chunk_table(Context& ctx, const std::vector<FlatRun>& runs);
inline int64_t chunk_count(const FlatRuns& runs) {
    return runs.on_device().size() / static_cast<int64_t>(sizeof(Chunk));
}

}  // namespace espalier::cuda
