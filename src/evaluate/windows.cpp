#include "src/evaluate/windows.hpp"

#include <algorithm>

namespace espalier::evaluate {

std::vector<Window> windows(int64_t tokens, int64_t seq_len, int64_t stride) {
    std::vector<Window> out;
    int64_t predicted = 0;  // labels 1 .. predicted are done
    for (int64_t begin = 0; predicted < tokens - 1; begin += stride) {
        const int64_t length = std::min(seq_len + 1, tokens - begin);
        const int64_t last = begin + length - 1;
        out.push_back({begin, length, last - predicted});
        predicted = last;
    }
    return out;
}

}  // namespace espalier::evaluate
