// Which tokens make up sample i of a run: exactly the order of Megatron-LM's GPTDataset and its blends
// (megatron/core/datasets/gpt_dataset.py, blended_dataset.py), so that runs can be compared sample by sample.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/data/source.hpp"

namespace espalier::data {

/// What samples take of a source.
struct Usage {
    std::string source;   ///< its name
    int64_t samples = 0;  ///< of them that come from it
    double epochs = 0;    ///< those x seq_len, over its tokens
};

/// Samples 0 .. count - 1 of seq_len + 1 tokens each. One source without a weight: GPTDataset's order for
/// (count, seq_len, seed). One or several with weights, a blend: each yields ceil(ceil(count * weight)
/// * 1.005) samples, and sample s comes from the source that lags its weight most. A source that is shorter
/// than a sample is repeated within it. Throws UserError when a source has no tokens, or all of them together
/// have fewer than seq_len + 1.
class Samples {
public:
    Samples(std::vector<Source> sources, int64_t count, int64_t seq_len, uint32_t seed);
    ~Samples();
    Samples(Samples&&) noexcept;

    int64_t count() const;
    int64_t seq_len() const;
    /// out [seq_len + 1] = the tokens of sample `index`.
    void read(int64_t index, std::span<int32_t> out) const;
    /// Of the source that the first `first` samples go through most often.
    Usage most_used(int64_t first) const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace espalier::data
