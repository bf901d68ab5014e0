// A BPE tokenizer with fewer tokens: which may go (renumbered_file.hpp: its files without them).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace espalier::tokenizer {

/// Which tokens depend on which. A text's pieces are bytes or characters, joined by merges; with every token
/// come the tokens that it is merged from, so that in a smaller vocabulary the same merges lead to it. Of
/// characters those that nothing needs may go where tokens for bytes stand in for them.
class VocabularyCut {
public:
    /// Of a model without a tokenizer: every id stands for itself.
    VocabularyCut() = default;
    /// UserError for a tokenizer.json that no Tokenizer can be made of.
    explicit VocabularyCut(std::string_view tokenizer_json);

    /// Tokens that always stay, ascending: those for single bytes and for a space, the unknown token, every
    /// added token.
    const std::vector<int64_t>& required() const { return required_; }

    /// The `count` ids, ascending, that stay of a model's frequencies.size(): the required and `also` ones,
    /// then the most frequent (of equal ones the lower) with what they are merged from. Tokens that no merges
    /// lead to, and ids without a token, come last. UserError naming --vocab when `count` has no room for the
    /// first.
    std::vector<int64_t> most_frequent(const std::vector<double>& frequencies, int64_t count,
                                       const std::vector<int64_t>& also) const;

    /// UserError naming a token that ids (ascending) lack: a required one, or one that another is merged
    /// from.
    void check(const std::vector<int64_t>& ids, const std::string& source) const;

private:
    const std::vector<int64_t>& parts(int64_t id) const;
    std::string name(int64_t id) const;

    std::vector<int64_t> required_;
    // By id: a damaged file may name any.
    std::unordered_map<int64_t, std::vector<int64_t>>
        parts_;  ///< tokens on the way to it, and it, if any lead
    std::unordered_map<int64_t, std::string> names_;
};

}  // namespace espalier::tokenizer
