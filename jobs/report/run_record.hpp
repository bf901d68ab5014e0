// What the folder of a training run tells about it.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace espalier::jobs {

/// One line of metrics.jsonl.
struct MetricsLine {
    double step = 0, tokens = 0;
    std::map<std::string, double> values;  ///< the finite numbers
};

struct RunRecord {
    std::string name;                                          ///< of the folder
    std::string job;                                           ///< "distill", "train"
    std::vector<std::pair<std::string, std::string>> options;  ///< of config.ini, in its order
    nlohmann::ordered_json facts;                              ///< of facts.json; null where it is missing
    std::vector<MetricsLine> lines;                            ///< at least one, in the order of steps
    bool finished = false;                                     ///< model.h5 is there

    /// The last value there is; none for a metric that the run does not have.
    std::optional<double> last(const std::string& metric) const;
    /// The mean over the last tenth of the steps: less noisy than the last step alone.
    std::optional<double> late_mean(const std::string& metric) const;
};

/// Throws UserError when the folder does not exist, is no run's, or holds no step.
RunRecord read_run(const std::string& folder);

}  // namespace espalier::jobs
