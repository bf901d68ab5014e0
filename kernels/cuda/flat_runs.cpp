#include "kernels/cuda/flat_runs.hpp"

#include <algorithm>
#include <cstring>

namespace espalier::cuda {

Tensor chunk_table(Context& ctx, const std::vector<FlatRun>& runs) {
    std::vector<Chunk> chunks;
    for (const FlatRun& run : runs) {
        for (int64_t done = 0; done < run.size; done += chunk_size)
            chunks.push_back({run.begin + done, static_cast<int32_t>(std::min(chunk_size, run.size - done)),
                              run.weight_decay_factor});
    }
    const Tensor host = ctx.empty_on_host({static_cast<int64_t>(chunks.size() * sizeof(Chunk))}, DType::u8);
    if (!chunks.empty()) std::memcpy(host.raw(), chunks.data(), host.bytes());
    return ctx.to_device(host);
}

}  // namespace espalier::cuda
