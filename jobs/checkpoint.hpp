// A training run's state on disk: RUNDIR/checkpoints/step-N.h5, and RUNDIR/latest, which names the newest
// whole one. Global tensors, so that a run goes on with any layout.
#pragma once

#include <optional>
#include <thread>

#include "jobs/model_file.hpp"
#include "src/train/optimizer.hpp"

namespace espalier::jobs {

constexpr const char* checkpoint_format = "espalier-checkpoint";

/// Weights in training; their datasets begin with `prefix`.
struct Trained {
    std::string prefix;
    std::vector<model::Parameter> all;  ///< those of other ranks too
    const model::ParameterSet* weights;
    train::Optimizer* optimizer;
};
Trained trained(std::string prefix, const model::Transformer& model, train::Optimizer& optimizer);

/// Where a run stands beside its tensors.
struct RunState {
    int64_t step = 0;
    int64_t skipped = 0;  ///< steps whose gradient was not finite
};

/// What checkpoints took, as rank 0 saw it.
struct CheckpointTimes {
    int64_t count = 0;
    double bytes = 0;            ///< of the tensors, all ranks together
    double writing_seconds = 0;  ///< of the thread that writes, until all is on the disk
    double waiting_seconds = 0;  ///< of training, for copies, files' beginnings and ends
};

class Checkpoints {
public:
    /// `configuration`: what a run that goes on must have in common with the one that wrote; `architecture`
    /// is the student's, for readers. All outlive this.
    Checkpoints(Session& session, std::string rundir, const model::Architecture& architecture,
                std::vector<Trained> trained, nlohmann::ordered_json configuration, int64_t keep);
    ~Checkpoints();

    /// Collective. Reads the newest whole checkpoint, telling which are passed over and why; nothing where
    /// there is none at all. Throws UserError when none is whole, or the run was started with other options.
    std::optional<RunState> read();

    /// Collective. Takes a copy of the state and writes it while training goes on; finish() ends it. Ends an
    /// earlier one first. A disk too full throws UserError here. A device is not waited for.
    void begin(const RunState& state);
    /// Whether this rank has nothing left to write of what begin() started; writing what a device has copied
    /// since begins here.
    bool written();
    /// Bytes of the copy that begin() takes on this rank.
    int64_t copy_bytes() const;
    bool under_way() const { return writing_ != nullptr; }
    /// Collective. Waits until all is written, then makes it a checkpoint and removes those beyond `keep`.
    void finish();
    const CheckpointTimes& times() const { return times_; }

private:
    struct Writing;
    void write_copies();
    std::optional<RunState> read(const std::string& path, std::string& damage);

    Session& session_;
    std::string rundir_;
    const model::Architecture& architecture_;
    std::vector<Trained> trained_;
    nlohmann::ordered_json configuration_;
    int64_t keep_;
    std::unique_ptr<Writing> writing_;
    CheckpointTimes times_;
    std::vector<Tensor> copies_;  // of the state, on the processor, kept from one checkpoint to the next
};

/// Collective. A model in training as M.h5, in the dtypes and with the tokenizer of the file it came from.
void write_trained(Session& session, const std::string& path, const ModelFile& from,
                   const model::Transformer& model, train::Optimizer& optimizer,
                   const nlohmann::ordered_json& history);

/// Removes what an earlier run left unfinished.
void remove_unfinished_checkpoints(const std::string& rundir);

}  // namespace espalier::jobs
