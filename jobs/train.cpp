// train: next-token training (teacher correction, scratch baselines).
#include "jobs/job.hpp"
#include "jobs/training/training.hpp"

namespace espalier::jobs {

int train(const std::vector<std::string>& arguments, comm::Mpi&) {
    TrainingOptions o;
    o.loss = "ce";
    const auto declare = [&](Options& options) {
        options.required("model", o.student, "M.h5");
        declare_training(options, o);
    };
    return run_job("train", arguments, declare,
                   [&](Session& session, const Options&) { return run_training(session, o); });
}

}  // namespace espalier::jobs
