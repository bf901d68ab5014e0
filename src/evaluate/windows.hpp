// How a long stream of tokens is cut so that each token but the first is predicted exactly once.
#pragma once

#include <cstdint>
#include <vector>

namespace espalier::evaluate {

/// Tokens [begin, begin + length) go through the model: length - 1 inputs, length - 1 labels, of which the
/// last `scored` count.
struct Window {
    int64_t begin;
    int64_t length;
    int64_t scored;
};

/// Windows of seq_len + 1 tokens every `stride` (1 .. seq_len) over a stream of `tokens`, the shorter tail
/// too.
std::vector<Window> windows(int64_t tokens, int64_t seq_len, int64_t stride);

}  // namespace espalier::evaluate
