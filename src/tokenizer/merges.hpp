// Byte-pair encoding proper: which two tokens become one, and in which order (Sennrich et al. 2016).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/tokenizer/definition.hpp"

namespace espalier::tokenizer {

/// The two tokens of a merge as files write it, "left right"; nothing where it has not exactly one space.
std::optional<std::pair<std::string, std::string>> split_merge(std::string_view text);

class MergeTable {
public:
    /// `left` and `right` become `result`; the lowest rank goes first. The last word on a pair counts.
    void add(int32_t left, int32_t right, uint32_t rank, int32_t result);

    /// Applies merges to `ids` until none applies: always the one of lowest rank, the leftmost such. In
    /// O(n log n) for n ids. `made`, where given, gets the result of every merge in the order they were
    /// applied.
    void apply(std::vector<int32_t>& ids, std::vector<int32_t>* made = nullptr) const;

private:
    struct Merge {
        uint32_t rank;
        int32_t result;
    };
    const Merge* find(int32_t left, int32_t right) const;

    std::unordered_map<uint64_t, Merge> merges_;
};

/// A tokenizer's merges, ranked in their order. Throws UserError where one needs a token that is not in the
/// vocabulary.
MergeTable merge_table(const Definition& definition);

}  // namespace espalier::tokenizer
