// What a BPE tokenizer is made of, wherever it was read from.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
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

/// Stands before every text that is not empty.
struct Prepend {
    std::string text;
};

/// Wherever `pattern` stands, letter by letter, `content` takes its place.
struct Replace {
    std::string pattern, content;
};

using NormalizerStep = std::variant<Normalization, Prepend, Replace>;

/// What becomes of a match among the pieces that the text is cut into.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

struct SplitStep {
    std::string pattern;  ///< in Oniguruma's syntax, as tokenizer.json has it
    SplitBehavior behavior = SplitBehavior::isolated;
    bool invert = false;  ///< what lies between matches counts as the match
};

/// What merges begin with: a text's bytes, each spelled as a character, or its characters.
enum class Alphabet { bytes, characters };

/// Which texts get a space before them that do not begin with one: what the whole begins with, all between
/// added tokens, none.
enum class PrependScheme { first, always, never };

/// Spaces written as a character that tokens may hold.
struct Metaspace {
    std::string replacement;
    PrependScheme prepend_scheme = PrependScheme::always;
    bool split = true;  ///< no merge crosses the beginning of a word
};

struct ByteFallback {};  ///< tokens such as <0x0A> become the bytes that they name
struct Fuse {};          ///< all tokens become one
struct Strip {
    std::string content;  ///< one character
    int64_t start = 0;    ///< how many of them a token loses at most, at its start
    int64_t stop = 0;     ///< and at its end
};
using DecoderStep = std::variant<Replace, ByteFallback, Fuse, Strip, Metaspace>;

/// U+2581, which stands for a space in vocabularies of characters.
inline constexpr std::string_view word_mark = "\u2581";

struct Definition {
    Alphabet alphabet = Alphabet::bytes;
    std::vector<NormalizerStep> normalizers;

    // The pre-tokenizer: splits, one after the other, then ByteLevel with these two options, or Metaspace.
    std::vector<SplitStep> splits;
    bool add_prefix_space = false;
    bool gpt2_split = false;  ///< ByteLevel's own pattern, `use_regex`
    std::optional<Metaspace> metaspace;

    std::vector<DecoderStep> decoders;  ///< of characters; of bytes it is ByteLevel

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
