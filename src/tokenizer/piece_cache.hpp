// Ids of pieces met before: most of a text is a few thousand words.
#pragma once

#include <span>

#include "src/tokenizer/definition.hpp"

namespace espalier::tokenizer {

class PieceCache {
public:
    static constexpr size_t longest_piece = 48;

    /// Appends the piece's ids to `ids` if it is known.
    bool append(std::string_view piece, std::vector<int32_t>& ids) const {
        const auto found = places_.find(piece);
        if (found == places_.end()) return false;
        const auto [begin, count] = found->second;
        ids.insert(ids.end(), ids_.begin() + begin, ids_.begin() + begin + count);
        return true;
    }

    void remember(std::string_view piece, std::span<const int32_t> ids) {
        if (piece.size() > longest_piece) return;
        if (places_.size() == most_pieces) {  // begin anew: what is frequent comes back soon
            places_.clear();
            ids_.clear();
        }
        places_.emplace(piece, Place{static_cast<int32_t>(ids_.size()), static_cast<int32_t>(ids.size())});
        ids_.insert(ids_.end(), ids.begin(), ids.end());
    }

private:
    static constexpr size_t most_pieces = 1 << 16;
    struct Place {
        int32_t begin;
        int32_t count;
    };
    std::unordered_map<std::string, Place, StringHash, std::equal_to<>> places_;
    std::vector<int32_t> ids_;
};

}  // namespace espalier::tokenizer
