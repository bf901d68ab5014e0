// One candidate of a search: cut, measured, distilled for a while, all by the jobs a user would call.
#pragma once

#include <optional>

#include "jobs/search/call.hpp"
#include "jobs/search/options.hpp"

namespace espalier::jobs {

/// Lives in a folder of its own: cut.h5 (where the candidate is no whole model), run/ (the RUNDIR of its
/// distillation). Everything that is there already is gone on from. All functions are collective.
class CandidateRun {
public:
    /// References must outlive this.
    CandidateRun(Session& session, comm::Mpi& mpi, const SearchOptions& o, const model::Architecture& source,
                 const search::ModelShape& shape, std::string folder);

    /// On --valid, or on the last tokens of --data.
    double loss_after_cut();
    /// Distils on to the end of `step` and measures; nothing where it was stopped before. The schedule is
    /// that of all --retrain-tokens, so that the run is the one that `distill` would make without a break.
    std::optional<double> train_to(int64_t step);
    /// Removes the cut model and the checkpoints, for a candidate that goes no further.
    void drop_state();

private:
    std::string path(const char* name) const { return folder_ + "/" + name; }
    bool exists(const char* name) const;
    const std::string& student();
    const std::string& held_out();
    double loss_of(const std::string& model);
    bool is_whole(int64_t step) const;
    std::optional<double> loss_on_record(int64_t step) const;

    Session& session_;
    comm::Mpi& mpi_;
    const SearchOptions& o_;
    const model::Architecture& source_;
    search::ModelShape shape_;
    std::string folder_, student_, held_out_;
};

}  // namespace espalier::jobs
