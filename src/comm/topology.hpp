// The grid of ranks: tensor x pipeline x data parallel.
#pragma once

#include "src/comm/communicator.hpp"

namespace espalier::comm {

/// Sizes of the grid's axes.
struct GridShape {
    int tp = 1;
    int pp = 1;
    int dp = 1;
};

/// rank = (dp index * pp + pp index) * tp + tp index: tensor parallel ranks, which talk most, are neighbours.
struct Topology {
    GridShape layout;
    Communicator world;
    Communicator tensor;    ///< same pp and dp index
    Communicator pipeline;  ///< same tp and dp index; its rank is the stage
    Communicator data;      ///< same tp and pp index
    Communicator ends;      ///< first and last stage of the pipeline, for tied embeddings; serial elsewhere

    int stage() const { return pipeline.rank(); }
    bool first_stage() const { return stage() == 0; }
    bool last_stage() const { return stage() == layout.pp - 1; }
};

/// Collective over MPI_COMM_WORLD. dp follows from the number of ranks; throws UserError when they are no
/// multiple of tp * pp.
Topology make_topology(int tp, int pp);

/// What stages send each other: the tag of a message. Those of one tag between two stages arrive in the order
/// they were sent, which is the order both go through.
enum StageTag : int {
    activation_tag,          ///< to the stage after, from the last to the first where there are virtual ones
    teacher_activation_tag,  ///< the same, of a teacher in the pipeline
    gradient_tag,            ///< to the stage before
    state_sum_tag,           ///< a number with an activation: the loss on hidden states so far
    state_weight_tag,        ///< a number with a gradient: that loss's weight
};
/// Which messages stages will send: activations alone, gradients too, a teacher's activations as well.
enum class Traffic { forward, training, distillation };

/// Makes the grid's communicators ready for tensors of ctx's device; virtual stages send from the last stage
/// to the first, too. Collective; nothing on a CPU.
void attach(const Topology& topology, Context& ctx, Traffic traffic, int virtual_stages = 1);

/// Ranks of this program on this node, and this one's place among them. Collective over all ranks.
int node_ranks();
int node_rank();
/// Cores for this rank's threads: those that its launcher binds it to, as mpirun does with few ranks and srun
/// with --cpus-per-task, divided by the ranks of its node that may use some of the same. Collective.
int cores_of_rank();

}  // namespace espalier::comm
