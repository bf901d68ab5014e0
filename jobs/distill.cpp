// distill: train a student after a teacher.
#include "jobs/job.hpp"
#include "jobs/training/training.hpp"

namespace espalier::jobs {

int distill(const std::vector<std::string>& arguments, comm::Mpi&) {
    TrainingOptions o;
    const auto declare = [&](Options& options) {
        options.add("teacher", o.teacher, "T.h5; not needed with --teacher-cache");
        options.add("teacher-cache", o.teacher_cache,
                    "folder that `espalier teacher-cache` made for this run's samples, instead of a teacher "
                    "that runs");
        options.add("teacher-tp", o.teacher_tp, "tensor parallel ranks of the teacher; 0: as the student");
        options.add("teacher-pp", o.teacher_pp, "pipeline stages of the teacher; 0: as the student");
        options.add(
            "correct-teacher", o.correct_teacher,
            "the teacher is trained by cross entropy on the same batches while the student follows it");
        options.add("teacher-lr", o.teacher_lr, "its peak learning rate; 0: a fifth of --lr");
        options.required("student", o.student, "S.h5");
        options.add(
            "loss", o.loss,
            "kl, reverse-kl, jsd, tvd, mse or cosine against the teacher, ce against the text; weighted: "
            "kl=1,ce=0.1");
        options.add("temperature", o.temperature, "of both softmaxes in the divergence");
        options.add("top-k", o.top_k,
                    "K: the divergence over the teacher's K most likely tokens and one bucket for the rest; "
                    "0: over all");
        options.add(
            "hidden-map", o.hidden_map,
            "hidden states to pull towards the teacher's: embedding, T:S (outputs of teacher layer T and "
            "student layer S, from 0, after the next norm), block:T:S (before it), mlp:T:S, "
            "attention:T:S (their inputs), with commas between");
        options.add("hidden-loss", o.hidden_loss, "of them: cosine or mse");
        options.add("hidden-weight", o.hidden_weight,
                    "a number, or auto: divergence / hidden loss, of each micro-batch");
        declare_training(options, o);
    };
    return run_job("distill", arguments, declare,
                   [&](Session& session, const Options&) { return run_training(session, o); });
}

}  // namespace espalier::jobs
