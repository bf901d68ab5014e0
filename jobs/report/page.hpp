// The report's page: figures, tables, style, in one string that needs nothing else.
#pragma once

#include <string>
#include <vector>

#include "jobs/report/run_record.hpp"

namespace espalier::jobs {

std::string report_page(const std::vector<RunRecord>& runs);

}  // namespace espalier::jobs
