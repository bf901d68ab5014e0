// One of the token files that samples come from.
#pragma once

#include <memory>
#include <string>

#include "src/data/documents.hpp"

namespace espalier::data {

struct Source {
    std::shared_ptr<const Documents> documents;
    double weight = 1.0;
    std::string name = "the token file";  ///< for messages
};

}  // namespace espalier::data
