#include "src/tokenizer/pre_tokenizer.hpp"

#include <algorithm>

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
    : before_prefix_(splitters(definition.splits)), add_prefix_space_(definition.add_prefix_space) {
    if (definition.gpt2_split) after_prefix_ = splitters({SplitStep{.pattern = gpt2_pattern}});
}

Pieces PreTokenizer::split(std::string_view text) const {
    Pieces pieces;
    if (text.empty()) return pieces;
    pieces.views.push_back(text);
    apply(before_prefix_, pieces.views);
    if (add_prefix_space_) {
        for (std::string_view& piece : pieces.views) {
            if (piece.front() != ' ') piece = pieces.owned.emplace_back(" ").append(piece);
        }
    }
    apply(after_prefix_, pieces.views);
    return pieces;
}

}  // namespace espalier::tokenizer
