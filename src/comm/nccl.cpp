#include "src/comm/nccl.hpp"

#include <nccl.h>

#include <array>
#include <map>
#include <numeric>
#include <utility>

#include "src/comm/mpi.hpp"
#include "src/comm/unwinding.hpp"
#include "src/core/error.hpp"

#if defined(NCCL_VERSION_CODE) && NCCL_VERSION_CODE < 21700
#error "NCCL 2.17 or newer is needed, for the blocks that a communicator may take"
#endif

namespace espalier::comm {
namespace {

void check_nccl(ncclResult_t code, const char* call) {
    if (code == ncclSuccess) return;
    throw InternalError(
        fmt::format("{} failed: {}; NCCL_DEBUG=WARN makes it say more", call, ncclGetErrorString(code)));
}
#define CHECK_NCCL(call) check_nccl((call), #call)

ncclDataType_t type_of(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return ncclFloat32;
        case DType::f64:
            return ncclFloat64;
        case DType::bf16:
            return ncclBfloat16;
        case DType::i32:
            return ncclInt32;
        case DType::u8:
            return ncclUint8;
    }
    throw InternalError("unknown dtype");
}

/// A communicator and the stream that its operations run on, before what else waits for the device: other
/// ranks wait for them.
class Channel {
public:
    Channel(const ncclUniqueId& id, int size, int rank, ncclConfig_t config)
        : stream_(device::make_stream(device::Priority::first)) {
        const ncclResult_t code = ncclCommInitRankConfig(&comm_, size, id, rank, &config);
        if (code != ncclSuccess) device::destroy(stream_);
        check_nccl(code, "ncclCommInitRankConfig");
        device::watch(this, [this] { check_under_way(); });
    }
    ~Channel() {
        device::unwatch(this);
        // While an exception unwinds the other ranks are elsewhere, and destroying waits for them.
        unwinding_.under_way() ? ncclCommAbort(comm_) : ncclCommDestroy(comm_);
        device::destroy(stream_);
    }
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;
    ncclComm_t comm() const { return comm_; }
    device::Stream stream() const { return stream_; }

private:
    /// A link or a rank that fails after an operation was put leaves its kernel waiting for ever, and a word
    /// here.
    void check_under_way() const {
        ncclResult_t state = ncclSuccess;
        CHECK_NCCL(ncclCommGetAsyncError(comm_, &state));
        if (state != ncclInProgress) check_nccl(state, "an operation of NCCL");
    }

    device::Stream stream_;
    ncclComm_t comm_ = nullptr;
    Unwinding unwinding_;
};

/// A message waits on the device for the other end, and takes from compute as many multiprocessors as it has
/// blocks: on an H100 8 of 132.
ncclConfig_t for_messages() {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.maxCTAs = 8;
    return config;
}

/// The first message of a communicator connects its ends, and keeps the host of each until the other has one,
/// too. Later ones do not, so that ranks may put theirs in any order.
enum class End { sends, receives };
constexpr size_t greeting_bytes = 16;
void connect_ends(const Channel& channel, End mine, std::byte* greeting) {
    if (mine == End::sends) {
        device::set_bytes(greeting, 0, greeting_bytes, channel.stream());
        CHECK_NCCL(ncclSend(greeting, greeting_bytes, ncclUint8, 1, channel.comm(), channel.stream()));
    } else {
        CHECK_NCCL(ncclRecv(greeting, greeting_bytes, ncclUint8, 0, channel.comm(), channel.stream()));
    }
    device::wait(channel.stream());
}

size_t count_of(std::span<const int64_t> offsets, int rank) {
    return static_cast<size_t>(offsets[rank + 1] - offsets[rank]);
}

bool all_equal(std::span<const int64_t> offsets, int size) {
    for (int r = 1; r < size; ++r) {
        if (count_of(offsets, r) != count_of(offsets, 0)) return false;
    }
    return true;
}

/// What NCCL sees as one operation.
template <class F>
void grouped(F&& operations) {
    CHECK_NCCL(ncclGroupStart());
    try {
        operations();
    } catch (...) {
        ncclGroupEnd();
        throw;
    }
    CHECK_NCCL(ncclGroupEnd());
}

}  // namespace

NcclFacts nccl_facts() {
    int version = 0;
    CHECK_NCCL(ncclGetVersion(&version));
    constexpr int first_to_share = 23000;
    return {fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100),
            fmt::format("{}.{}.{}", NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH), version >= first_to_share};
}

struct NcclTransport::State {
    MPI_Comm mpi = MPI_COMM_NULL;
    device::Stream compute = nullptr;
    int rank = 0, size = 1;
    std::unique_ptr<Channel> all;  // made at first use: many communicators only send messages
    std::map<std::array<int, 3>, std::unique_ptr<Channel>> messages;  // by sender, receiver and tag

    /// Collective over all ranks; those outside of members get nothing.
    std::unique_ptr<Channel> connect(const std::vector<int>& members, const ncclConfig_t& config) const {
        ncclUniqueId id{};
        if (rank == members[0]) CHECK_NCCL(ncclGetUniqueId(&id));
        CHECK_MPI(MPI_Bcast(&id, sizeof id, MPI_BYTE, members[0], mpi));
        for (size_t i = 0; i < members.size(); ++i) {
            if (members[i] == rank)
                return std::make_unique<Channel>(id, static_cast<int>(members.size()), static_cast<int>(i),
                                                 config);
        }
        return nullptr;
    }

    /// Collective over all ranks.
    Channel& everybody() {
        if (!all) {
            std::vector<int> members(static_cast<size_t>(size));
            std::iota(members.begin(), members.end(), 0);
            all = connect(members, NCCL_CONFIG_INITIALIZER);
        }
        return *all;
    }

    Channel& lane(int from, int to, int tag) const {
        const auto found = messages.find({from, to, tag});
        if (found == messages.end())
            throw InternalError(fmt::format("no lane from rank {} to {} with tag {}", from, to, tag));
        return *found->second;
    }

    /// f(communicator, stream), which reads x, after what compute holds now; what compute gets once the
    /// request has ended comes later.
    template <class F>
    Request begin(const Tensor& x, F&& f) {
        const Channel& channel = everybody();
        device::order(compute, channel.stream());
        f(channel.comm(), channel.stream());
        return {x, device::record(channel.stream()), compute};
    }
    /// The same between what compute holds now and what comes later.
    template <class F>
    void collective(F&& f) {
        begin({}, std::forward<F>(f)).wait();
    }
};

NcclTransport::NcclTransport(MPI_Comm comm, device::Stream compute, std::span<const Lane> lanes)
    : state_(std::make_unique<State>()) {
    State& s = *state_;
    s.mpi = comm;
    s.compute = compute;
    CHECK_MPI(MPI_Comm_rank(comm, &s.rank));
    CHECK_MPI(MPI_Comm_size(comm, &s.size));
    // Outlives the channels of the loop: releasing it waits for the device, where a greeting that fails is
    // under way until its communicator is gone.
    const auto release = [](std::byte* memory) { device::release(memory); };
    const std::unique_ptr<std::byte, decltype(release)> greeting(device::allocate(greeting_bytes), release);
    for (const Lane& lane : lanes) {
        for (int from = 0; from < s.size; ++from) {
            const int next = from + lane.step, to = (next + s.size) % s.size;
            if (to != next && !lane.ring) continue;
            auto channel = s.connect({from, to}, for_messages());
            if (!channel) continue;
            connect_ends(*channel, s.rank == from ? End::sends : End::receives, greeting.get());
            s.messages[{from, to, lane.tag}] = std::move(channel);
        }
    }
}

NcclTransport::~NcclTransport() = default;

void NcclTransport::all_reduce(Context&, Tensor& x) {
    state_->collective([&](ncclComm_t comm, device::Stream stream) {
        CHECK_NCCL(ncclAllReduce(x.raw(), x.raw(), static_cast<size_t>(x.size()), type_of(x.dtype()), ncclSum,
                                 comm, stream));
    });
}

Request NcclTransport::all_gather(Context&, const Tensor& part, Tensor& whole,
                                  std::span<const int64_t> offsets) {
    const ncclDataType_t type = type_of(part.dtype());
    const int size = state_->size;
    return state_->begin(part, [&](ncclComm_t comm, device::Stream stream) {
        if (all_equal(offsets, size)) {
            CHECK_NCCL(ncclAllGather(part.raw(), whole.raw(), count_of(offsets, 0), type, comm, stream));
            return;
        }
        grouped([&] {
            for (int r = 0; r < size; ++r) {
                CHECK_NCCL(ncclBroadcast(part.raw(), whole.at(offsets[r]), count_of(offsets, r), type, r,
                                         comm, stream));
            }
        });
    });
}

Request NcclTransport::reduce_scatter(Context&, const Tensor& whole, Tensor& part,
                                      std::span<const int64_t> offsets) {
    const ncclDataType_t type = type_of(whole.dtype());
    const int size = state_->size;
    return state_->begin(whole, [&](ncclComm_t comm, device::Stream stream) {
        if (all_equal(offsets, size)) {
            CHECK_NCCL(ncclReduceScatter(whole.raw(), part.raw(), count_of(offsets, 0), type, ncclSum, comm,
                                         stream));
            return;
        }
        grouped([&] {
            for (int r = 0; r < size; ++r) {
                CHECK_NCCL(ncclReduce(whole.at(offsets[r]), part.raw(), count_of(offsets, r), type, ncclSum,
                                      r, comm, stream));
            }
        });
    });
}

Request NcclTransport::send(const Tensor& x, int to, int tag) {
    const Channel& channel = state_->lane(state_->rank, to, tag);
    device::order(state_->compute, channel.stream());
    CHECK_NCCL(ncclSend(x.raw(), static_cast<size_t>(x.size()), type_of(x.dtype()), 1, channel.comm(),
                        channel.stream()));
    return {x, device::record(channel.stream()), state_->compute};
}

Request NcclTransport::receive(Tensor& x, int from, int tag) {
    const Channel& channel = state_->lane(from, state_->rank, tag);
    device::order(state_->compute, channel.stream());
    CHECK_NCCL(ncclRecv(x.raw(), static_cast<size_t>(x.size()), type_of(x.dtype()), 0, channel.comm(),
                        channel.stream()));
    return {x, device::record(channel.stream()), state_->compute};
}

}  // namespace espalier::comm
