#include "src/tokenizer/added_tokens.hpp"

#include <algorithm>

#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {

AddedTokenFinder::AddedTokenFinder(const std::vector<const AddedToken*>& tokens,
                                   const std::vector<std::string>& contents) {
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (contents[i].empty() || !tokens_.emplace(contents[i], tokens[i]).second) continue;
        auto& lengths = lengths_[static_cast<unsigned char>(contents[i].front())];
        if (std::find(lengths.begin(), lengths.end(), contents[i].size()) == lengths.end())
            lengths.push_back(contents[i].size());
    }
    for (auto& lengths : lengths_) std::sort(lengths.rbegin(), lengths.rend());
}

const AddedToken* AddedTokenFinder::longest_at(std::string_view text, size_t& length) const {
    for (const size_t candidate : lengths_[static_cast<unsigned char>(text.front())]) {
        if (candidate > text.size()) continue;
        const auto found = tokens_.find(text.substr(0, candidate));
        if (found == tokens_.end()) continue;
        length = candidate;
        return found->second;
    }
    return nullptr;
}

// The rules of AddedVocabulary::find_matches in huggingface/tokenizers, tokenizer/added_vocabulary.rs. A
// token that fails its single_word test still uses up its text, and one found in the white space that another
// has taken counts all the same.
std::vector<AddedTokenFinder::Segment> AddedTokenFinder::split(std::string_view text) const {
    if (tokens_.empty()) return {{text, nullptr}};
    std::vector<Segment> segments;
    size_t done = 0;
    for (size_t at = 0, length = 1; at < text.size(); at += length) {
        const AddedToken* token = longest_at(text.substr(at), length);
        if (token == nullptr) {
            length = 1;
            continue;
        }
        size_t begin = at, end = at + length;
        if (token->single_word &&
            (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end))))
            continue;
        if (token->lstrip) begin = std::max(begin - trailing_space(text.substr(0, begin)), done);
        if (token->rstrip) end += leading_space(text.substr(end));
        if (done < begin) segments.push_back({text.substr(done, begin - done), nullptr});
        segments.push_back({text.substr(begin, end - begin), token});
        done = end;
    }
    if (done < text.size()) segments.push_back({text.substr(done), nullptr});
    return segments;
}

}  // namespace espalier::tokenizer
