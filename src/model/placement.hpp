// Which part of a model a rank holds: its share of every layer it has (tensor parallelism), and which layers
// those are (pipeline parallelism).
#pragma once

#include <vector>

#include "src/core/exact.hpp"
#include "src/model/parameters.hpp"

namespace espalier::model {

/// A rank's place in its pipeline. It has one virtual stage, a run of layers, or several (Narayanan et al.
/// 2021, section 2.2), and an activation goes round the ranks once for each.
struct PipelineShape {
    int stages = 1;
    int stage = 0;
    int virtual_stages = 1;

    /// Where activations come from and go to: a ring, since virtual stages begin again at the first stage.
    int stage_before() const { return (stage + stages - 1) % stages; }
    int stage_after() const { return (stage + 1) % stages; }
    /// Of the whole model's layers.
    bool is_first(int virtual_stage) const { return stage == 0 && virtual_stage == 0; }
    bool is_last(int virtual_stage) const {
        return stage == stages - 1 && virtual_stage == virtual_stages - 1;
    }
};

/// Micro-batches whose forward pass a teacher may have done before a student on the same stages: enough to
/// fill the waits at a step's end and at the next one's beginning; the last stage keeps a hidden state for
/// each.
constexpr int64_t most_taught_ahead(int64_t stages) {
    return 3 * (stages - 1) + 1;
}

struct Placement {
    TensorPart tensor;
    std::vector<Range> virtual_stages = {};  ///< the layers of each
    bool embedding = true;                   ///< has the token embedding
    bool final_norm = true;
    bool head = true;  ///< has the output projection

    bool has_layer(int64_t layer) const;
    /// All of this rank's layers, where they are one virtual stage.
    Range layers() const;
};

/// Layers are dealt out so that the stages' matrix products are as even as they can be; the last stage also
/// has the head, which in a small model weighs as much as several layers.
Placement partition(const Architecture& a, TensorPart tensor, const PipelineShape& pipeline);

/// The part of `placement` without the head, and the head alone: for a teacher whose head lives with the
/// student's.
Placement without_head(Placement placement);
enum class Head { here, elsewhere };
Placement head_alone(TensorPart tensor, Head head);

/// The run of layers of each of `stages` stages. Of equally even shares, the one with more layers in the
/// earlier stages.
std::vector<Range> stage_runs(const Architecture& a, int stages);

/// What the user calls the sizes of a layout.
struct LayoutOptions {
    const char* tp = "--tp";
    const char* pp = "--pp";
};
/// Throws UserError when tp exceeds what can be split, or pp times virtual stages the number of layers.
void check_layout(const Architecture& a, int tp, int pp, int virtual_stages, const std::string& source,
                  LayoutOptions options = {});

}  // namespace espalier::model
