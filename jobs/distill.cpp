// distill: train a student after a teacher.
#include "jobs/job.hpp"
#include "jobs/training.hpp"

namespace espalier::jobs {

int distill(const std::vector<std::string>& arguments, comm::Mpi&) {
    TrainingOptions o;
    const auto declare = [&](Options& options) {
        options.add()("teacher", po::value(&o.teacher)->required(), "T.h5")(
            "student", po::value(&o.student)->required(), "S.h5")(
            "loss", po::value(&o.loss)->default_value(o.loss),
            "kl, reverse-kl, jsd, mse or cosine against the teacher, ce against the text; weighted: "
            "kl=1,ce=0.1")("temperature", po::value(&o.temperature)->default_value(o.temperature),
                           "of both softmaxes in the divergence")(
            "top-k", po::value(&o.top_k)->default_value(o.top_k),
            "K: the divergence over the teacher's K most likely tokens and one bucket for the rest; 0: over "
            "all");
        declare_training(options, o);
    };
    return run_job("distill", arguments, declare,
                   [&](Session& session, const Options&) { return run_training(session, o); });
}

}  // namespace espalier::jobs
