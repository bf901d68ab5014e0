// Micro-batches of random tokens, the same for every layout.
#pragma once

#include <vector>

#include "src/comm/topology.hpp"
#include "src/train/micro_batch.hpp"
#include "tests/model/tiny_models.hpp"

namespace espalier::test {

struct StepSize {
    int64_t micro_batches;  ///< of all replicas
    int64_t batch, seq;     ///< of a micro-batch

    constexpr int64_t tokens() const { return batch * seq; }  ///< of a micro-batch
};

/// This replica's micro-batches of step `number`, with labels.
inline std::vector<train::MicroBatch> random_step(Context& ctx, const model::Architecture& a,
                                                  const comm::Topology& topology, const StepSize& size,
                                                  int64_t number) {
    const Range mine = split_evenly(size.micro_batches, topology.layout.dp, topology.data.rank());
    std::vector<train::MicroBatch> batches;
    for (int64_t m = mine.begin; m < mine.end; ++m) {
        const auto seed = static_cast<uint64_t>(1000 * number + m);
        const auto ids = random_ids(size.tokens(), a.vocab, seed);
        batches.push_back({model::make_batch(ctx, ids, size.batch, size.seq),
                           labels_of(ctx, random_ids(size.tokens(), a.vocab, 100 + seed))});
    }
    return batches;
}

}  // namespace espalier::test
