// One of the token files that samples come from.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "src/data/documents.hpp"

namespace espalier::data {

struct Source {
    std::shared_ptr<const Documents> documents;
    std::optional<double> weight = std::nullopt;  ///< in a blend, of which it may be the only part
    std::string name = "the token file";          ///< for messages
};

}  // namespace espalier::data
