#include "src/tokenizer/pre_tokenizer.hpp"

#include <algorithm>

#include "src/tokenizer/normalizer.hpp"

namespace espalier::tokenizer {
namespace {

struct Cut {
    size_t begin;
    size_t end;
    bool match;
};

// The rules of NormalizedString::split in huggingface/tokenizers, tokenizer/normalizer.rs.
std::vector<Cut> merge(std::vector<Cut> cuts, SplitBehavior behavior) {
    if (behavior == SplitBehavior::isolated) return cuts;
    if (behavior == SplitBehavior::removed) {
        std::erase_if(cuts, [](const Cut& cut) { return cut.match; });
        return cuts;
    }
    const bool to_next = behavior == SplitBehavior::merged_with_next;
    if (to_next) std::reverse(cuts.begin(), cuts.end());
    std::vector<Cut> merged;
    bool after_match = false;
    for (const Cut& cut : cuts) {
        const bool joins =
            behavior == SplitBehavior::contiguous ? cut.match == after_match : cut.match && !after_match;
        if (joins && !merged.empty()) {
            (to_next ? merged.back().begin : merged.back().end) = to_next ? cut.begin : cut.end;
        } else {
            merged.push_back(cut);
        }
        after_match = cut.match;
    }
    if (to_next) std::reverse(merged.begin(), merged.end());
    return merged;
}

void apply(const std::vector<Splitter>& splitters, std::vector<std::string_view>& pieces) {
    std::vector<std::string_view> next;
    for (const Splitter& splitter : splitters) {
        next.clear();
        for (const std::string_view piece : pieces) splitter.split(piece, next);
        std::swap(pieces, next);
    }
}

std::vector<Splitter> splitters(const std::vector<SplitStep>& steps) {
    return {steps.begin(), steps.end()};
}

/// Whether a word mark stands in `token` behind something else than a word mark.
bool crosses_words(std::string_view token) {
    for (size_t at = token.find(word_mark, 1); at != std::string_view::npos;
         at = token.find(word_mark, at + word_mark.size())) {
        if (!token.substr(0, at).ends_with(word_mark)) return true;
    }
    return false;
}

/// Whether a text may be cut at each beginning of a word without another result. That keeps pieces short
/// where nothing else splits a text. A mark without a token would let unknown characters meet across the cut.
bool words_are_apart(const Definition& definition) {
    if (definition.alphabet == Alphabet::bytes || definition.ignore_merges) return false;
    if (definition.vocabulary.find(word_mark) == definition.vocabulary.end()) return false;
    return std::none_of(definition.merges.begin(), definition.merges.end(),
                        [](const auto& merge) { return crosses_words(merge.first + merge.second); });
}

void cut_at_marks(std::vector<std::string_view>& pieces) {
    std::vector<std::string_view> words;
    for (const std::string_view piece : pieces) {
        size_t begin = 0;
        for (size_t at = piece.find(word_mark); at != std::string_view::npos;
             at = piece.find(word_mark, at + word_mark.size())) {
            if (at == begin || piece.substr(0, at).ends_with(word_mark)) continue;
            words.push_back(piece.substr(begin, at - begin));
            begin = at;
        }
        words.push_back(piece.substr(begin));
    }
    pieces = std::move(words);
}

}  // namespace

Splitter::Splitter(const SplitStep& step)
    : regex_(step.pattern), behavior_(step.behavior), invert_(step.invert) {}

void Splitter::split(std::string_view text, std::vector<std::string_view>& pieces) const {
    std::vector<Cut> cuts;
    size_t last = 0;
    regex_.find_all(text, [&](size_t begin, size_t end) {
        if (last != begin) cuts.push_back({last, begin, invert_});
        cuts.push_back({begin, end, !invert_});
        last = end;
    });
    if (last != text.size()) cuts.push_back({last, text.size(), invert_});
    for (const Cut& cut : merge(std::move(cuts), behavior_)) {
        if (cut.begin != cut.end) pieces.push_back(text.substr(cut.begin, cut.end - cut.begin));
    }
}

PreTokenizer::PreTokenizer(const Definition& definition)
    : before_prefix_(splitters(definition.splits)),
      add_prefix_space_(definition.add_prefix_space),
      metaspace_(definition.metaspace),
      cut_at_marks_(words_are_apart(definition)) {
    if (definition.gpt2_split) after_prefix_ = splitters({SplitStep{.pattern = gpt2_pattern}});
    if (metaspace_ && metaspace_->split) {
        after_prefix_ =
            splitters({{literal_pattern(metaspace_->replacement), SplitBehavior::merged_with_next, false}});
    }
}

// The rules of Metaspace::pre_tokenize in huggingface/tokenizers, pre_tokenizers/metaspace.rs.
void PreTokenizer::put_marks(std::string_view text, Place place, Pieces& pieces) const {
    const std::string& mark = metaspace_->replacement;
    for (std::string_view& piece : pieces.views) {
        const bool first = place == Place::beginning && piece.data() == text.data();
        std::string marked = replaced(piece, {" ", mark});
        const bool wanted = metaspace_->prepend_scheme == PrependScheme::always ||
                            (metaspace_->prepend_scheme == PrependScheme::first && first);
        if (wanted && !marked.starts_with(mark)) marked.insert(0, mark);
        piece = pieces.owned.emplace_back(std::move(marked));
    }
}

Pieces PreTokenizer::split(std::string_view text, Place place) const {
    Pieces pieces;
    if (text.empty()) return pieces;
    pieces.views.push_back(text);
    apply(before_prefix_, pieces.views);
    if (add_prefix_space_) {
        for (std::string_view& piece : pieces.views) {
            if (piece.front() != ' ') piece = pieces.owned.emplace_back(" ").append(piece);
        }
    }
    if (metaspace_) put_marks(text, place, pieces);
    apply(after_prefix_, pieces.views);
    if (cut_at_marks_) cut_at_marks(pieces.views);
    return pieces;
}

}  // namespace espalier::tokenizer
