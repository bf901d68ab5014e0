#include "src/tokenizer/merges.hpp"

#include <queue>

#include "src/core/error.hpp"

namespace espalier::tokenizer {
namespace {

uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// A token in the list of those that are left; `id` is gone once merged into its left neighbour.
struct Symbol {
    int32_t id;
    int32_t previous;
    int32_t next;
};
constexpr int32_t gone = -1, nowhere = -1;

// A merge that was possible when it was queued.
struct Candidate {
    uint32_t rank;
    int32_t at;
    int32_t left;
    int32_t right;
    int32_t result;
    bool operator<(const Candidate& other) const {  // the queue's top is the greatest
        return rank != other.rank ? rank > other.rank : at > other.at;
    }
};

}  // namespace

std::optional<std::pair<std::string, std::string>> split_merge(std::string_view text) {
    const size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos)
        return std::nullopt;
    return std::pair(std::string(text.substr(0, space)), std::string(text.substr(space + 1)));
}

void MergeTable::add(int32_t left, int32_t right, uint32_t rank, int32_t result) {
    merges_.insert_or_assign(key(left, right), Merge{rank, result});
}

const MergeTable::Merge* MergeTable::find(int32_t left, int32_t right) const {
    const auto found = merges_.find(key(left, right));
    return found == merges_.end() ? nullptr : &found->second;
}

void MergeTable::apply(std::vector<int32_t>& ids, std::vector<int32_t>* made) const {
    const auto count = static_cast<int32_t>(ids.size());
    std::vector<Symbol> symbols(count);
    for (int32_t i = 0; i < count; ++i) symbols[i] = {ids[i], i - 1, i + 1 < count ? i + 1 : nowhere};

    std::vector<Candidate> storage;
    storage.reserve(count);
    std::priority_queue<Candidate> candidates({}, std::move(storage));
    const auto consider = [&](int32_t at) {
        if (at == nowhere || symbols[at].next == nowhere) return;
        const int32_t left = symbols[at].id, right = symbols[symbols[at].next].id;
        if (const Merge* merge = find(left, right))
            candidates.push({merge->rank, at, left, right, merge->result});
    };
    for (int32_t i = 0; i < count; ++i) consider(i);

    while (!candidates.empty()) {
        const Candidate best = candidates.top();
        candidates.pop();
        Symbol& left = symbols[best.at];
        if (left.id != best.left || left.next == nowhere || symbols[left.next].id != best.right) continue;
        Symbol& right = symbols[left.next];
        left.id = best.result;
        if (made) made->push_back(best.result);
        left.next = right.next;
        right.id = gone;
        if (left.next != nowhere) symbols[left.next].previous = best.at;
        consider(left.previous);
        consider(best.at);
    }

    ids.clear();
    for (int32_t i = 0; i != nowhere && i < count; i = symbols[i].next) ids.push_back(symbols[i].id);
}

MergeTable merge_table(const Definition& definition) {
    MergeTable out;
    for (size_t rank = 0; rank < definition.merges.size(); ++rank) {
        const auto& [left, right] = definition.merges[rank];
        const auto id = [&](const std::string& token) {
            const auto found = definition.vocabulary.find(token);
            ESPALIER_REQUIRE(
                found != definition.vocabulary.end(),
                "merge {} needs the token '{}', which the vocabulary lacks; the file is damaged or its parts "
                "are of different models",
                rank, token);
            return found->second;
        };
        out.add(id(left), id(right), static_cast<uint32_t>(rank), id(left + right));
    }
    return out;
}

}  // namespace espalier::tokenizer
