// The steps of a tokenizer.json's normalizer.
#pragma once

#include "src/tokenizer/definition.hpp"

namespace espalier::tokenizer {

/// `text`, valid UTF-8, with the step done.
std::string normalized(std::string_view text, const NormalizerStep& step);

/// Matches are taken from left to right, none overlapping.
std::string replaced(std::string_view text, const Replace& replace);

}  // namespace espalier::tokenizer
