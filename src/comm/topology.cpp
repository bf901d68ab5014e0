#include "src/comm/topology.hpp"

#include <sched.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "src/comm/mpi.hpp"
#include "src/comm/unwinding.hpp"

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

/// The ranks of this node.
class Node {
public:
    Node() {
        CHECK_MPI(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &handle_));
        CHECK_MPI(MPI_Comm_rank(handle_, &rank_));
        CHECK_MPI(MPI_Comm_size(handle_, &size_));
    }
    ~Node() {
        if (!unwinding_.under_way()) MPI_Comm_free(&handle_);
    }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    int rank() const { return rank_; }
    int size() const { return size_; }
    /// Every rank's value, by rank.
    template <class T>
    std::vector<T> gather(const T& mine) const {
        std::vector<T> out(static_cast<size_t>(size_));
        CHECK_MPI(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, out.data(), sizeof mine, MPI_BYTE, handle_));
        return out;
    }

private:
    MPI_Comm handle_ = MPI_COMM_NULL;
    int rank_ = 0, size_ = 1;
    Unwinding unwinding_;
};

}  // namespace

int node_ranks() {
    return Node().size();
}

int node_rank() {
    return Node().rank();
}

int cores_of_rank() {
    const Node node;
    cpu_set_t mine;
    CPU_ZERO(&mine);
    const bool known = sched_getaffinity(0, sizeof mine, &mine) == 0;  // not of more than 1024 cores
    const auto masks = node.gather(mine);
    const auto cores = known ? CPU_COUNT(&mine) : static_cast<int>(std::thread::hardware_concurrency());
    const auto sharing = std::count_if(masks.begin(), masks.end(), [&](const cpu_set_t& other) {
        cpu_set_t both;
        CPU_AND(&both, &mine, &other);
        return !known || CPU_COUNT(&both) > 0;
    });
    return std::max(1, cores / std::max(1, static_cast<int>(sharing)));
}

}  // namespace espalier::comm
