// What the jobs of one search have measured: a line a candidate and step in a file that all of them add to.
#pragma once

#include "jobs/session/session.hpp"
#include "src/search/halving.hpp"

namespace espalier::jobs {

/// A number as JSON has it; null, which is how JSON writes what is none, is no number.
double as_loss(const nlohmann::json& value);

/// All functions are collective: rank 0 reads and writes the file.
class SearchResults {
public:
    SearchResults(const Session& session, std::string path) : session_(session), path_(std::move(path)) {}

    /// Losses by step (0: before any training) and candidate, as they stand in the file now.
    std::map<int64_t, search::Losses> read() const;
    /// Does nothing when the candidate has a line for this step: whoever measures it again measures the same.
    void add(int64_t candidate, int64_t step, double loss) const;

private:
    const Session& session_;
    std::string path_;
};

}  // namespace espalier::jobs
