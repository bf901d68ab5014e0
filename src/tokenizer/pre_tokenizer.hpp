// Cuts text into the pieces that merges do not cross.
#pragma once

#include <deque>

#include "src/tokenizer/definition.hpp"
#include "src/tokenizer/regex.hpp"

namespace espalier::tokenizer {

/// A text in pieces. `owned` holds the pieces that are not parts of the text, because a space was put before.
struct Pieces {
    std::vector<std::string_view> views;
    std::deque<std::string> owned;
};

class Splitter {
public:
    explicit Splitter(const SplitStep& step);
    /// Appends the pieces of `text`, none of them empty.
    void split(std::string_view text, std::vector<std::string_view>& pieces) const;

private:
    Regex regex_;
    SplitBehavior behavior_;
    bool invert_;
};

/// Where a stretch of text stands in the whole.
enum class Place { beginning, within };

class PreTokenizer {
public:
    explicit PreTokenizer(const Definition& definition);
    Pieces split(std::string_view text, Place place) const;

private:
    void put_marks(std::string_view text, Place place, Pieces& pieces) const;

    std::vector<Splitter> before_prefix_;
    bool add_prefix_space_;
    std::optional<Metaspace> metaspace_;
    std::vector<Splitter> after_prefix_;
    bool cut_at_marks_;
};

}  // namespace espalier::tokenizer
