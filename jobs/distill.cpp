// distill: train a student after a teacher.
#include "jobs/job.hpp"
#include "jobs/training.hpp"

namespace espalier::jobs {

int distill(const std::vector<std::string>& arguments, comm::Mpi&) {
    TrainingOptions o;
    const auto declare = [&](Options& options) {
        options.add()("teacher", po::value(&o.teacher)->default_value(o.teacher),
                      "T.h5; not needed with --teacher-cache")(
            "teacher-cache", po::value(&o.teacher_cache)->default_value(o.teacher_cache),
            "folder that `espalier teacher-cache` made for this run's samples, in place of a teacher that "
            "runs")("teacher-tp", po::value(&o.teacher_tp)->default_value(o.teacher_tp),
                    "tensor parallel ranks of the teacher; 0: as the student")(
            "teacher-pp", po::value(&o.teacher_pp)->default_value(o.teacher_pp),
            "pipeline stages of the teacher; 0: as the student")(
            "correct-teacher", po::bool_switch(&o.correct_teacher),
            "the teacher is trained by cross entropy on the same batches while the student follows it")(
            "teacher-lr", po::value(&o.teacher_lr)->default_value(o.teacher_lr),
            "its peak learning rate; 0: a fifth of --lr")("student", po::value(&o.student)->required(),
                                                          "S.h5")(
            "loss", po::value(&o.loss)->default_value(o.loss),
            "kl, reverse-kl, jsd, mse or cosine against the teacher, ce against the text; weighted: "
            "kl=1,ce=0.1")("temperature", po::value(&o.temperature)->default_value(o.temperature),
                           "of both softmaxes in the divergence")(
            "top-k", po::value(&o.top_k)->default_value(o.top_k),
            "K: the divergence over the teacher's K most likely tokens and one bucket for the rest; 0: over "
            "all")("hidden-map", po::value(&o.hidden_map)->default_value(o.hidden_map),
                   "hidden states that should be alike too: embedding, T:S (outputs of teacher layer T and "
                   "student layer S, from 0), mlp:T:S, attention:T:S (their inputs), with commas between")(
            "hidden-loss", po::value(&o.hidden_loss)->default_value(o.hidden_loss), "of them: cosine or mse")(
            "hidden-weight", po::value(&o.hidden_weight)->default_value(o.hidden_weight),
            "a number, or auto: divergence / hidden loss, of each micro-batch");
        declare_training(options, o);
    };
    return run_job("distill", arguments, declare,
                   [&](Session& session, const Options&) { return run_training(session, o); });
}

}  // namespace espalier::jobs
