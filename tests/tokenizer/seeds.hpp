// Files to damage, and what is done with the damaged ones.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace espalier::test {

/// tokenizer.json files, short, that together have every component.
std::vector<std::string> tokenizer_seeds();

/// Reads a tokenizer.json, encodes and decodes with it, writes it and reads that.
void use_tokenizer(std::string_view tokenizer_json);

}  // namespace espalier::test
