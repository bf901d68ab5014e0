// The samples of one source in GPTDataset's order (megatron/core/datasets/gpt_dataset.py): the documents of
// all epochs shuffled and laid end to end, cut every seq_len tokens, the cuts shuffled.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "src/data/source.hpp"

namespace espalier::data {

class SampleOrder {
public:
    /// At least `count` samples of seq_len + 1 tokens, of which the last is the first of the next cut. Throws
    /// UserError when there are no tokens, or 2^32 samples or more.
    SampleOrder(const Source& source, int64_t count, int64_t seq_len, uint32_t seed);

    int64_t count() const { return static_cast<int64_t>(cuts_.size()); }
    void read(int64_t index, std::span<int32_t> out) const;

private:
    void lay_end_to_end();

    std::shared_ptr<const Documents> documents_;
    int64_t seq_len_;
    std::vector<int32_t> order_;   ///< documents of all epochs
    std::vector<int64_t> starts_;  ///< first token of every `stride`-th of order_, in the stream of all
    std::vector<uint32_t> cuts_;   ///< sample -> which cut of the stream
};

}  // namespace espalier::data
