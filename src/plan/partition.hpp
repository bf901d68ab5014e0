// Which part of a step's models a rank holds: a run of layers, or several, and its share of their weights.
#pragma once

#include <map>
#include <vector>

#include "src/core/exact.hpp"
#include "src/plan/layout.hpp"

namespace espalier::plan {

/// Weights of tensor parallel rank 0, which has the most, read off the parameter table.
struct LocalWeights {
    LocalWeights(const model::Architecture& a, int64_t tp);

    double embedding = 0;
    double tail = 0;             ///< final norm and head
    std::vector<double> before;  ///< of layers 0 .. i - 1, for every i up to the depth

    double of(Range layers) const { return before[layers.end] - before[layers.begin]; }
};

/// One model's. Each split that is asked for is counted once. Refers to its arguments, and reads them when it
/// is asked.
class Partition {
public:
    Partition(const model::Architecture& a, const Practice& practice) : a_(a), practice_(practice) {}

    /// The layers of each virtual stage of a pipeline rank: number c of all pp v is on rank c mod pp.
    std::vector<Range> layers(const Layout& layout, int64_t stage);
    /// Number of weights that a rank of the stage holds.
    double weights(const Layout& layout, int64_t stage);

private:
    const std::vector<Range>& runs(int64_t count);

    const model::Architecture& a_;
    const Practice& practice_;
    std::map<int64_t, std::vector<Range>> runs_;  // of their number
    std::map<int64_t, LocalWeights> weights_;     // of tp
};

/// Of a step, to which it refers.
class StepPartition {
public:
    explicit StepPartition(const Step& step) : step_(step), model_(step.model, step.practice) {}

    Partition& model() { return model_; }
    Partition* teacher();  ///< nullptr without one

private:
    const Step& step_;
    Partition model_;
    std::optional<Partition> teacher_;
};

}  // namespace espalier::plan
