// The memory of a training run: what is predicted for each rank, and what it was in the end.
#pragma once

#include <array>
#include <vector>

#include "jobs/training/state_side.hpp"
#include "jobs/training/teacher_side.hpp"

namespace espalier::jobs {

/// Bytes of one rank by what they are for: on a GPU those of the device, else of the process. `program` is
/// what it holds before it loads anything: libraries, MPI.
struct PredictedMemory {
    static constexpr std::array names{"weights", "gradients",     "optimizer",  "activations", "head",
                                      "teacher", "hidden_states", "checkpoint", "program"};
    int64_t weights = 0, gradients = 0, optimizer = 0, activations = 0, head = 0, teacher = 0,
            hidden_states = 0, checkpoint = 0, program = 0;
    int64_t copies = 0;  ///< beyond them, where writing a checkpoint takes longer than a step's passes

    std::array<int64_t, names.size()> parts() const {
        return {weights, gradients,     optimizer,  activations, head,
                teacher, hidden_states, checkpoint, program};
    }
};

/// Of what is loaded and ready to train; states: nullptr without a loss on hidden states. Not counted: a
/// teacher's cache, and what cuDNN takes for a corrected teacher beyond what it takes for the student.
PredictedMemory predict_memory(Session& session, const TrainingOptions& o, model::Transformer& student,
                               const train::Optimizer& optimizer, const TeacherSide& teacher,
                               const StateSide* states, const Checkpoints& checkpoints);

/// The most bytes that this rank held so far: on a GPU those of the device, else of the process.
int64_t most_memory(const Context& ctx);

class MemoryReport {
public:
    /// Collective. Says what the rank that needs most will need.
    MemoryReport(Session& session, const PredictedMemory& mine);

    /// Collective, after the last step. Says what the rank that needed most did need, and puts
    /// `predicted_memory_bytes` and `memory` into the results.
    void finish();

private:
    Session& session_;
    std::vector<double> predicted_;  // [rank]
    double copies_ = 0;              // this and what follows: of the rank that is predicted to need most
    nlohmann::ordered_json parts_;
};

}  // namespace espalier::jobs
