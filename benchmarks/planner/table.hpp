// Whether a committed table is still what its command prints.
#pragma once

#include <string>

namespace espalier::benchmarks {

/// The first line in which `printed` is not `committed`, both of them; empty where there is none. Numbers
/// count as the same when their last digits are one apart: a fit on another processor or with another
/// compiler ends as close as that.
std::string first_difference(const std::string& printed, const std::string& committed);

}  // namespace espalier::benchmarks
