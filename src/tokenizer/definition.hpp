// What a byte-level BPE tokenizer is made of, wherever it was read from.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/tokenizer/tokenizer.hpp"

namespace espalier::tokenizer {

/// Lets a table of strings be asked with a view.
struct StringHash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
};
using IdOfToken = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

/// A token that is found in the text itself, before anything is split.
struct AddedToken {
    int32_t id = 0;
    std::string content;
    bool single_word = false;  ///< only where no letter, digit or underscore touches it
    bool lstrip = false;       ///< takes the white space before it
    bool rstrip = false;       ///< takes the white space after it
    bool normalized = false;   ///< looked for in the normalised text
    bool special = false;      ///< control token: decode can leave it out
};

enum class Normalization { nfc, nfd, nfkc, nfkd };

/// What becomes of a match among the pieces that the text is cut into.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

struct SplitStep {
    std::string pattern;  ///< in Oniguruma's syntax, as tokenizer.json has it
    SplitBehavior behavior = SplitBehavior::isolated;
    bool invert = false;  ///< what lies between matches counts as the match
};

struct Definition {
    std::vector<Normalization> normalizers;

    // The pre-tokenizer: splits, one after the other, then ByteLevel with these two options.
    std::vector<SplitStep> splits;
    bool add_prefix_space = false;
    bool gpt2_split = false;  ///< ByteLevel's own pattern, `use_regex`

    IdOfToken vocabulary;
    std::vector<std::pair<std::string, std::string>> merges;  ///< best first
    std::optional<std::string> unk_token;
    bool fuse_unk = false;
    bool byte_fallback = false;
    bool ignore_merges = false;  ///< a whole piece that is a token stays one

    std::vector<AddedToken> added_tokens;
    std::vector<int32_t> before, after;  ///< ids that the post-processor puts around a text

    SpecialIds special;
    std::optional<std::string> chat_template;
    std::optional<int64_t> model_max_length;
};

/// GPT-2's split, which is that of ByteLevel with `use_regex` (openai/gpt-2, encoder.py).
inline constexpr const char* gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace espalier::tokenizer
