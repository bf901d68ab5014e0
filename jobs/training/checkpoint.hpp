// A training run's state on disk: RUNDIR/checkpoints/step-N.h5, and RUNDIR/latest, which names the newest
// whole one. Global tensors, so that a run goes on with any layout.
#pragma once

#include <optional>
#include <thread>

#include "jobs/files/model_file.hpp"
#include "src/train/optimizer.hpp"
#include "src/train/snapshot.hpp"

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
    int64_t skipped = 0;           ///< steps whose gradient was not finite
    int64_t skipped_in_a_row = 0;  ///< those that came last
};

/// What checkpoints took, as rank 0 saw it.
struct CheckpointTimes {
    int64_t count = 0;
    double bytes = 0;            ///< of the tensors, all ranks together
    double writing_seconds = 0;  ///< of the thread that writes, until all is on the disk
    double waiting_seconds = 0;  ///< of training, for files' beginnings and ends, and for detach()
    double first_waiting_seconds = 0;
    int64_t copied_bytes = 0;  ///< of this rank's state, that detach() copied
};
nlohmann::ordered_json to_json(const CheckpointTimes& times);

class Checkpoints {
public:
    /// `configuration`: what a run that goes on must have in common with the one that wrote; `architecture`
    /// is the student's, for readers. All outlive this.
    Checkpoints(Session& session, std::string rundir, const model::Architecture& architecture,
                std::vector<Trained> trained, nlohmann::ordered_json configuration, int64_t keep);
    ~Checkpoints();

    /// Collective. Reads the newest whole checkpoint, telling which are passed over as damaged, and calling
    /// those NAME.damaged from then on; nothing where there has been none. Throws UserError when none is
    /// whole, all are gone, one cannot be read for another reason, or the run was started with other options.
    std::optional<RunState> read();

    /// Collective. Writes the state as it is now while training goes on; finish() ends it. Ends an earlier
    /// one first. A disk too full throws UserError here; a device is not waited for. `before_writing`: what
    /// the writing thread does first; a test holds it back by that.
    void begin(const RunState& state, std::function<void()> before_writing = {});
    /// To be called before the state changes: copies what is not written yet.
    void detach();
    /// Whether this rank has nothing left to do of what begin() or advance() started; writing what a device
    /// has copied since begins here.
    bool written();
    /// Of the tensors of a checkpoint, all ranks together.
    int64_t bytes() const;
    /// What detach() copies on this rank at most.
    int64_t copy_bytes() const { return snapshot_.bytes(); }
    bool under_way() const { return writing_ != nullptr; }
    /// Collective, for when all have written(): what is to be done together, after which rank 0's thread
    /// makes it a checkpoint and removes those beyond `keep`; called again after that, concludes.
    void advance();
    /// Collective. Waits for all that.
    void finish();
    const CheckpointTimes& times() const { return times_; }

private:
    struct Writing;
    /// Where a piece of snapshot_ belongs.
    struct Place {
        std::string dataset;
        Box box;
    };
    static std::vector<Tensor> pieces(const std::vector<Trained>& trained, std::vector<Place>& places);
    void start_writing();
    void write(Writing& writing);
    void seal(Writing& writing);
    void count(const Writing& ended);
    std::optional<RunState> read(const std::string& path, std::string& damage);

    Session& session_;
    std::string rundir_;
    const model::Architecture& architecture_;
    std::vector<Trained> trained_;
    nlohmann::ordered_json configuration_;
    int64_t keep_;
    std::vector<Place> places_;  // in the order of the file
    train::Snapshot snapshot_;
    std::unique_ptr<Writing> writing_;
    CheckpointTimes times_;
};

}  // namespace espalier::jobs
