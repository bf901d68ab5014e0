// A device communicates while the host goes on; here the host must do it. So an operation runs when
// it is put on its stream, with everything that the stream holds before it. All is made of messages between
// ranks of MPI_COMM_WORLD, a tag for each communicator.
#include <mpi.h>
#include <nccl.h>

#include <cstdlib>
#include <deque>
#include <memory>
#include <set>
#include <vector>

#include "src/core/bfloat16.hpp"
#include "tests/cuda_on_host/runtime.hpp"

struct ncclComm {
    int rank = 0, tag = 0;
    std::vector<int> world;  // ranks in MPI_COMM_WORLD
    std::set<int> peers{};   // whom messages have gone to or come from
    int size() const { return static_cast<int>(world.size()); }
};

namespace espalier::rig {
namespace {

/// What stands in a ncclUniqueId.
struct Meeting {
    int host;  // rank in MPI_COMM_WORLD of the communicator's rank 0
    int tag;
};

size_t size_of(ncclDataType_t type) {
    switch (type) {
        case ncclUint8:
            return 1;
        case ncclBfloat16:
            return 2;
        case ncclFloat64:
            return 8;
        default:
            return 4;
    }
}

using Bytes = std::vector<char>;

struct Sent {
    Bytes content;
    MPI_Request request = MPI_REQUEST_NULL;
};

/// Sends without waiting for the receiver; forgets what has arrived.
void send(const ncclComm& comm, int to, const void* from, size_t bytes) {
    static std::deque<Sent> on_their_way;
    const char* begin = static_cast<const char*>(from);
    Sent& message = on_their_way.emplace_back();
    message.content.assign(begin, begin + bytes);
    MPI_Isend(message.content.data(), static_cast<int>(bytes), MPI_BYTE, comm.world[static_cast<size_t>(to)],
              comm.tag, MPI_COMM_WORLD, &message.request);
    for (int arrived = 1; arrived && !on_their_way.empty();) {
        MPI_Test(&on_their_way.front().request, &arrived, MPI_STATUS_IGNORE);
        if (arrived) on_their_way.pop_front();
    }
}

void receive(const ncclComm& comm, int from, void* to, size_t bytes) {
    MPI_Recv(to, static_cast<int>(bytes), MPI_BYTE, comm.world[static_cast<size_t>(from)], comm.tag,
             MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

template <class T>
void join(T* sum, const T* part, size_t count, ncclRedOp_t op) {
    for (size_t i = 0; i < count; ++i) {
        if constexpr (std::is_same_v<T, bfloat16>) {
            const auto a = static_cast<float>(sum[i]), b = static_cast<float>(part[i]);
            sum[i] = bfloat16(op == ncclSum ? a + b : std::max(a, b));
        } else {
            sum[i] = op == ncclSum ? static_cast<T>(sum[i] + part[i]) : std::max(sum[i], part[i]);
        }
    }
}

void join(void* sum, const void* part, size_t count, ncclDataType_t type, ncclRedOp_t op) {
    const auto as = [&]<class T>(T) { join(static_cast<T*>(sum), static_cast<const T*>(part), count, op); };
    switch (type) {
        case ncclFloat32:
            return as(float{});
        case ncclFloat64:
            return as(double{});
        case ncclBfloat16:
            return as(bfloat16{});
        case ncclInt32:
            return as(int32_t{});
        case ncclUint8:
            return as(uint8_t{});
    }
}

/// to, on root alone, = the reduction in the order of the ranks.
void reduce(const ncclComm& comm, const void* from, void* to, size_t count, ncclDataType_t type,
            ncclRedOp_t op, int root) {
    const size_t bytes = count * size_of(type);
    if (comm.rank != root) return send(comm, root, from, bytes);
    Bytes sum, part(bytes);
    for (int r = 0; r < comm.size(); ++r) {
        if (r == root) {
            std::memcpy(part.data(), from, bytes);
        } else {
            receive(comm, r, part.data(), bytes);
        }
        if (r == 0) {
            sum = part;
        } else {
            join(sum.data(), part.data(), count, type, op);
        }
    }
    std::memcpy(to, sum.data(), bytes);
}

void broadcast(const ncclComm& comm, const void* from, void* to, size_t bytes, int root) {
    if (comm.rank != root) return receive(comm, root, to, bytes);
    for (int r = 0; r < comm.size(); ++r) {
        if (r != root) send(comm, r, from, bytes);
    }
    if (to != from) std::memcpy(to, from, bytes);
}

/// As NCCL does, the first message between two ranks keeps the host until both have put it.
void meet(ncclComm& comm, int peer) {
    if (!comm.peers.insert(peer).second) return;
    const int who = comm.world[static_cast<size_t>(peer)];
    char mine = 0, theirs = 0;
    MPI_Sendrecv(&mine, 1, MPI_CHAR, who, comm.tag, &theirs, 1, MPI_CHAR, who, comm.tag, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
}

ncclResult_t put(cudaStream_t stream, const Exchange& what, std::function<void(char*)> meet_others) {
    exchange(stream, what, std::move(meet_others));
    return ncclSuccess;
}

}  // namespace
}  // namespace espalier::rig

using namespace espalier::rig;

ncclResult_t ncclGetVersion(int* version) {
    *version = espalier::rig::machine_is("old-nccl") ? 22809 : 23000;
    return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t code) {
    return code == ncclSuccess ? "no error" : "invalid usage";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
    static int made = 0;
    Meeting meeting{};
    MPI_Comm_rank(MPI_COMM_WORLD, &meeting.host);
    meeting.tag = 20000 + 1000 * meeting.host + made++;
    std::memcpy(id->internal, &meeting, sizeof meeting);
    return ncclSuccess;
}

// ESPALIER_RIG_NCCL_FAILS_ON = a rank of MPI_COMM_WORLD that does not find the others, which go on waiting.
ncclResult_t ncclCommInitRankConfig(ncclComm_t* out, int ranks, ncclUniqueId id, int rank, ncclConfig_t*) {
    Meeting meeting;
    std::memcpy(&meeting, id.internal, sizeof meeting);
    int me = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &me);
    const char* failing = std::getenv("ESPALIER_RIG_NCCL_FAILS_ON");
    if (failing && std::atoi(failing) == me) return ncclInvalidUsage;
    auto* comm = new ncclComm{rank, meeting.tag, std::vector<int>(static_cast<size_t>(ranks))};
    if (rank == 0) {
        comm->world[0] = me;
        for (int r = 1; r < ranks; ++r) {
            int who[2];
            MPI_Recv(who, 2, MPI_INT, MPI_ANY_SOURCE, meeting.tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            comm->world[static_cast<size_t>(who[0])] = who[1];
        }
        for (int r = 1; r < ranks; ++r) {
            MPI_Send(comm->world.data(), ranks, MPI_INT, comm->world[static_cast<size_t>(r)], meeting.tag,
                     MPI_COMM_WORLD);
        }
    } else {
        const int who[2] = {rank, me};
        MPI_Send(who, 2, MPI_INT, meeting.host, meeting.tag, MPI_COMM_WORLD);
        MPI_Recv(comm->world.data(), ranks, MPI_INT, meeting.host, meeting.tag, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    }
    *out = comm;
    return ncclSuccess;
}

// ESPALIER_RIG_NCCL_BREAKS_ON = a rank of MPI_COMM_WORLD whose operations fail once they are under way.
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* state) {
    int me = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &me);
    const char* breaking = std::getenv("ESPALIER_RIG_NCCL_BREAKS_ON");
    *state = breaking && std::atoi(breaking) == me ? ncclInvalidUsage : ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    delete comm;
    return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
    return ncclCommDestroy(comm);
}
ncclResult_t ncclGroupStart() {
    return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
    return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
    const size_t bytes = count * size_of(type);
    return put(stream, {from, bytes, to, bytes}, [=](char* result) {
        reduce(*comm, from, result, count, type, op, 0);
        broadcast(*comm, result, result, bytes, 0);
    });
}

ncclResult_t ncclReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                        int root, ncclComm_t comm, cudaStream_t stream) {
    const size_t bytes = count * size_of(type);
    return put(stream, {from, bytes, comm->rank == root ? to : nullptr, bytes},
               [=](char* result) { reduce(*comm, from, result, count, type, op, root); });
}

ncclResult_t ncclReduceScatter(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
    const size_t bytes = count * size_of(type);
    return put(stream, {from, bytes * static_cast<size_t>(comm->size()), to, bytes}, [=](char* result) {
        for (int r = 0; r < comm->size(); ++r) {
            reduce(*comm, static_cast<const char*>(from) + static_cast<size_t>(r) * bytes, result, count,
                   type, op, r);
        }
    });
}

ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
    const size_t bytes = count * size_of(type);
    const bool sends = comm->rank == root;
    return put(stream, {from, sends ? bytes : 0, sends && to == from ? nullptr : to, bytes},
               [=](char* result) { broadcast(*comm, from, result, bytes, root); });
}

ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
    for (int r = 0; r < comm->size(); ++r) {
        char* const place = static_cast<char*>(to) + static_cast<size_t>(r) * count * size_of(type);
        ncclBroadcast(from, place, count, type, r, comm, stream);
    }
    return ncclSuccess;
}

ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    meet(*comm, peer);
    const size_t bytes = count * size_of(type);
    // It has ended when the other rank has taken it: a library's buffers are small beside an activation.
    const auto message = std::make_shared<Sent>();
    put(stream, {from, bytes, nullptr, 0}, [=](char*) {
        const char* const begin = static_cast<const char*>(from);
        message->content.assign(begin, begin + bytes);
        MPI_Issend(message->content.data(), static_cast<int>(bytes), MPI_BYTE,
                   comm->world[static_cast<size_t>(peer)], comm->tag, MPI_COMM_WORLD, &message->request);
    });
    hold(stream, [message] {
        int taken = 0;
        MPI_Test(&message->request, &taken, MPI_STATUS_IGNORE);
        return taken != 0;
    });
    return ncclSuccess;
}

ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    meet(*comm, peer);
    const size_t bytes = count * size_of(type);
    return put(stream, {nullptr, 0, to, bytes}, [=](char* result) { receive(*comm, peer, result, bytes); });
}
