// Finds the tokens that stand in the text as they are, such as <|endoftext|>.
#pragma once

#include <array>

#include "src/tokenizer/definition.hpp"

namespace espalier::tokenizer {

class AddedTokenFinder {
public:
    struct Segment {
        std::string_view text;
        const AddedToken* token;  ///< null: ordinary text
    };

    /// Keeps pointers to `tokens`. Looks for each token's content, as `contents` has it.
    AddedTokenFinder(const std::vector<const AddedToken*>& tokens, const std::vector<std::string>& contents);

    /// Leftmost first, the longest of those that begin there. Segments with a token may be empty of text.
    std::vector<Segment> split(std::string_view text) const;

private:
    const AddedToken* longest_at(std::string_view text, size_t& length) const;

    std::unordered_map<std::string, const AddedToken*, StringHash, std::equal_to<>> tokens_;
    std::array<std::vector<size_t>, 256> lengths_;  // of the tokens that begin with a byte, longest first
};

}  // namespace espalier::tokenizer
