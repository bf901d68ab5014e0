#include "src/comm/topology.hpp"

#include <vector>

#include "src/comm/mpi.hpp"

namespace espalier::comm {
namespace {

Communicator split(int color, int key) {
    MPI_Comm out = MPI_COMM_NULL;
    CHECK_MPI(MPI_Comm_split(MPI_COMM_WORLD, color < 0 ? MPI_UNDEFINED : color, key, &out));
    return out == MPI_COMM_NULL ? Communicator() : Communicator(out);
}

}  // namespace

Topology make_topology(int tp, int pp) {
    int rank = 0, size = 1;
    CHECK_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank));
    CHECK_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size));
    ESPALIER_REQUIRE(tp >= 1 && pp >= 1, "--tp {} --pp {}: both must be at least 1", tp, pp);
    const int64_t replica_ranks = int64_t{tp} * pp;
    ESPALIER_REQUIRE(size % replica_ranks == 0,
                     "{} ranks cannot form replicas of --tp {} x --pp {} = {} ranks\n  start a multiple of "
                     "{} ranks, or change --tp and --pp",
                     size, tp, pp, replica_ranks, replica_ranks);
    Topology t;
    t.layout = {tp, pp, size / (tp * pp)};
    const int tensor = rank % tp, stage = rank / tp % pp, replica = rank / (tp * pp);
    t.world = split(0, rank);
    t.tensor = split(replica * pp + stage, tensor);
    t.pipeline = split(replica * tp + tensor, stage);
    t.data = split(stage * tp + tensor, replica);
    const bool end = pp > 1 && (stage == 0 || stage == pp - 1);
    t.ends = split(end ? replica * tp + tensor : -1, stage);
    return t;
}

void attach(const Topology& t, Context& ctx, Traffic traffic, int virtual_stages) {
    const bool ring = virtual_stages > 1;
    std::vector lanes{Lane{activation_tag, 1, ring}};
    if (traffic != Traffic::forward) lanes.push_back({gradient_tag, -1, ring});
    if (traffic == Traffic::distillation) lanes.push_back({teacher_activation_tag, 1, ring});
    t.world.attach(ctx);
    t.tensor.attach(ctx);
    t.pipeline.attach(ctx, lanes);
    t.data.attach(ctx);
    t.ends.attach(ctx);
}

namespace {

struct Place {
    int rank = 0, size = 1;
};

Place on_node() {
    MPI_Comm node = MPI_COMM_NULL;
    CHECK_MPI(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    Place out;
    CHECK_MPI(MPI_Comm_rank(node, &out.rank));
    CHECK_MPI(MPI_Comm_size(node, &out.size));
    CHECK_MPI(MPI_Comm_free(&node));
    return out;
}

}  // namespace

int node_ranks() {
    return on_node().size;
}

int node_rank() {
    return on_node().rank;
}

}  // namespace espalier::comm
