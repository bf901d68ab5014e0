// The report's page: figures, tables, style, in one string that needs nothing else.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "jobs/report/run_record.hpp"

namespace espalier::jobs {

inline constexpr std::string_view page_begins_with = "<!doctype html>";  ///< its first line
std::string report_page(const std::vector<RunRecord>& runs);

}  // namespace espalier::jobs
