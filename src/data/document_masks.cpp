#include "src/data/document_masks.hpp"

#include "src/core/exact.hpp"

namespace espalier::data {

std::vector<int32_t> document_starts(std::span<const int32_t> ids, int64_t seq, int32_t eod) {
    std::vector<int32_t> out;
    out.reserve(ids.size());
    int64_t start = 0;
    for (int64_t i = 0; i < std::ssize(ids); ++i) {
        const int64_t position = i % seq;
        if (position == 0) {
            start = 0;
        } else if (ids[i - 1] == eod) {
            start = position;
        }
        out.push_back(narrow<int32_t>(start));
    }
    return out;
}

void mask_ends(std::span<const int32_t> ids, int32_t eod, std::span<int32_t> labels) {
    for (size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] == eod) labels[i] = -1;
    }
}

}  // namespace espalier::data
