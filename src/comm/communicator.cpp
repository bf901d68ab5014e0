#include "src/comm/communicator.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "kernels/elementwise.hpp"
#include "src/comm/mpi.hpp"
#include "src/comm/shared_memory.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier::comm {

class Timed {
public:
    explicit Timed(Stopwatch& watch) : watch_(watch) { ++watch_.depth_; }
    ~Timed() {
        if (--watch_.depth_ == 0)
            watch_.seconds_ += std::chrono::duration<double>(Clock::now() - begin_).count();
    }
    Timed(const Timed&) = delete;
    Timed& operator=(const Timed&) = delete;

private:
    using Clock = std::chrono::steady_clock;
    Stopwatch& watch_;
    Clock::time_point begin_ = Clock::now();
};

struct Communicator::State {
    MPI_Comm handle = MPI_COMM_NULL;
    int rank = 0;
    int size = 1;
    bool one_node = false;
    std::optional<SharedMemory> shared;  // made at first use: most communicators move little
    device::Stream compute = nullptr;
    std::shared_ptr<DeviceGroup> on_device;  // where attached
    std::shared_ptr<Stopwatch> watch = std::make_shared<Stopwatch>();

    ~State() {
        on_device.reset();
        shared.reset();
        int finalized = 0;
        MPI_Finalized(&finalized);
        if (!finalized && std::uncaught_exceptions() == 0) MPI_Comm_free(&handle);
    }

    SharedMemory& memory() {
        if (!shared) shared.emplace(handle);
        return *shared;
    }
};

namespace {

MPI_Datatype mpi_type(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return MPI_FLOAT;
        case DType::f64:
            return MPI_DOUBLE;
        case DType::i32:
            return MPI_INT32_T;
        case DType::bf16:
            return MPI_UINT16_T;
        case DType::u8:
            return MPI_UINT8_T;
    }
    throw InternalError("unknown dtype");
}

/// Offsets of the ranks' parts of `rows` rows of `width` units each; size + 1 of them.
std::vector<size_t> offsets_of(int64_t rows, int size, size_t width) {
    std::vector<size_t> offsets;
    for (int r = 0; r < size; ++r)
        offsets.push_back(static_cast<size_t>(split_evenly(rows, size, r).begin) * width);
    offsets.push_back(static_cast<size_t>(rows) * width);
    return offsets;
}

int64_t row_size(const Tensor& x) {
    int64_t n = 1;
    for (size_t axis = 1; axis < x.rank(); ++axis) n *= x.dim(axis);
    return n;
}

/// Elements of the ranks' parts of `rows` rows of `width` elements.
[[maybe_unused]] std::vector<size_t> counts_of(int64_t rows, int size, int64_t width) {
    std::vector<size_t> counts;
    for (int r = 0; r < size; ++r)
        counts.push_back(static_cast<size_t>(split_evenly(rows, size, r).size() * width));
    return counts;
}

struct Counts {
    std::vector<int> counts, offsets;
};

Counts mpi_counts(std::span<const size_t> offsets) {
    Counts out;
    for (size_t r = 0; r + 1 < offsets.size(); ++r) {
        out.offsets.push_back(narrow<int>(offsets[r]));
        out.counts.push_back(narrow<int>(offsets[r + 1] - offsets[r]));
    }
    return out;
}

}  // namespace

Request::~Request() {
    if constexpr (has_cuda) {
        if (on_ && std::uncaught_exceptions() == 0) device::order(on_, compute_);
    }
    // An exception is on its way and the peer may never answer; main ends the job.
    if (request_ != MPI_REQUEST_NULL && std::uncaught_exceptions() == 0) {
        std::optional<Timed> timed;
        if (watch_) timed.emplace(*watch_);
        MPI_Wait(&request_, MPI_STATUS_IGNORE);
    }
}

void Request::wait() {
    std::optional<Timed> timed;
    if (watch_) timed.emplace(*watch_);
    if constexpr (has_cuda) {
        if (on_) device::order(std::exchange(on_, nullptr), compute_);
    }
    if (request_ != MPI_REQUEST_NULL) CHECK_MPI(MPI_Wait(&request_, MPI_STATUS_IGNORE));
    tensor_ = {};
}

bool Request::test() {
    std::optional<Timed> timed;
    if (watch_) timed.emplace(*watch_);
    int done = 1;
    if (request_ != MPI_REQUEST_NULL) CHECK_MPI(MPI_Test(&request_, &done, MPI_STATUS_IGNORE));
    return done != 0;
}

void Request::cancel() {
    if (request_ != MPI_REQUEST_NULL) CHECK_MPI(MPI_Cancel(&request_));
    wait();
}

Communicator::Communicator(MPI_Comm handle) {
    auto state = std::make_shared<State>();
    state->handle = handle;
    CHECK_MPI(MPI_Comm_set_errhandler(handle, MPI_ERRORS_RETURN));
    CHECK_MPI(MPI_Comm_rank(handle, &state->rank));
    CHECK_MPI(MPI_Comm_size(handle, &state->size));
    if (state->size == 1) return;
    MPI_Comm node = MPI_COMM_NULL;
    CHECK_MPI(MPI_Comm_split_type(handle, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    int on_node = 0;
    CHECK_MPI(MPI_Comm_size(node, &on_node));
    CHECK_MPI(MPI_Comm_free(&node));
    int fewest = 0;
    CHECK_MPI(MPI_Allreduce(&on_node, &fewest, 1, MPI_INT, MPI_MIN, handle));
    state->one_node = fewest == state->size;
    state_ = std::move(state);
}

int Communicator::rank() const {
    return state_ ? state_->rank : 0;
}
int Communicator::size() const {
    return state_ ? state_->size : 1;
}
MPI_Comm Communicator::handle() const {
    return state_ ? state_->handle : MPI_COMM_SELF;
}
double Communicator::seconds() const {
    return state_ ? state_->watch->seconds() : 0;
}

void Communicator::attach([[maybe_unused]] Context& ctx, [[maybe_unused]] std::span<const Lane> lanes) const {
    if constexpr (has_cuda) {
        if (!state_ || !ctx.on_gpu()) return;
        state_->compute = ctx.stream();
        state_->on_device = std::make_shared<DeviceGroup>(state_->handle, ctx.stream(), lanes);
    }
}

void Communicator::all_reduce(Context& ctx, Tensor& x, Reduction reduction) const {
    if (!state_ || x.size() == 0) return;
    const Timed timed(*state_->watch);
    if constexpr (has_cuda) {
        if (x.device() == Device::cuda) {
            return state_->on_device->all_reduce(
                x, reduction == Reduction::sum ? DeviceGroup::Operation::sum : DeviceGroup::Operation::max);
        }
    }
    if (reduction == Reduction::max || !state_->one_node) {
        Tensor wide = x.dtype() == DType::bf16 ? ctx.empty(x.shape(), DType::f32) : x;
        if (x.dtype() == DType::bf16) convert(ctx, x, wide);
        CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, wide.raw(), narrow<int>(wide.size()), mpi_type(wide.dtype()),
                                reduction == Reduction::sum ? MPI_SUM : MPI_MAX, state_->handle));
        if (x.dtype() == DType::bf16) convert(ctx, wide, x);
        return;
    }
    const Tensor flat = x.view({x.size()});
    const Tensor part = reduce_scatter(ctx, flat);
    const auto offsets = offsets_of(x.size(), size(), size_of(x.dtype()));
    state_->memory().all_gather({part.raw(), part.bytes()}, {x.raw(), x.bytes()}, offsets, ctx.threads());
}

Tensor Communicator::all_gather(Context& ctx, const Tensor& part, int64_t rows) const {
    if (!state_) return part;
    const Timed timed(*state_->watch);
    Shape shape = part.shape();
    shape.at(0) = rows;
    Tensor whole = ctx.empty(std::move(shape), part.dtype());
    if constexpr (has_cuda) {
        if (part.device() == Device::cuda) {
            state_->on_device->all_gather(part, whole, counts_of(rows, size(), row_size(whole)));
            return whole;
        }
    }
    const size_t width = static_cast<size_t>(row_size(whole)) * size_of(part.dtype());
    const auto offsets = offsets_of(rows, size(), width);
    if (state_->one_node) {
        state_->memory().all_gather({part.raw(), part.bytes()}, {whole.raw(), whole.bytes()}, offsets,
                                    ctx.threads());
        return whole;
    }
    const auto [counts, displacements] =
        mpi_counts(offsets_of(rows, size(), static_cast<size_t>(row_size(whole))));
    const MPI_Datatype type = mpi_type(part.dtype());
    CHECK_MPI(MPI_Allgatherv(part.raw(), narrow<int>(part.size()), type, whole.raw(), counts.data(),
                             displacements.data(), type, state_->handle));
    return whole;
}

Tensor Communicator::reduce_scatter(Context& ctx, const Tensor& whole) const {
    if (!state_) return whole;
    const Timed timed(*state_->watch);
    const int64_t rows = whole.dim(0);
    Shape shape = whole.shape();
    shape[0] = my_rows(*this, rows).size();
    Tensor part = ctx.empty(std::move(shape), whole.dtype());
    if constexpr (has_cuda) {
        if (whole.device() == Device::cuda) {
            state_->on_device->reduce_scatter(whole, part, counts_of(rows, size(), row_size(whole)));
            return part;
        }
    }
    const auto offsets = offsets_of(rows, size(), static_cast<size_t>(row_size(whole)));
    if (state_->one_node) {
        state_->memory().reduce_scatter(whole.dtype(), whole.raw(), part.raw(), offsets, ctx.threads());
        return part;
    }
    const auto counts = mpi_counts(offsets).counts;
    Tensor wide = whole, sum = part;
    if (whole.dtype() == DType::bf16) {
        wide = ctx.empty(whole.shape(), DType::f32);
        sum = ctx.empty(part.shape(), DType::f32);
        convert(ctx, whole, wide);
    }
    CHECK_MPI(MPI_Reduce_scatter(wide.raw(), sum.raw(), counts.data(), mpi_type(wide.dtype()), MPI_SUM,
                                 state_->handle));
    if (whole.dtype() == DType::bf16) convert(ctx, sum, part);
    return part;
}

namespace {

[[maybe_unused]] std::vector<size_t> counts_of(std::span<const int64_t> bounds) {
    std::vector<size_t> out;
    for (size_t r = 0; r + 1 < bounds.size(); ++r)
        out.push_back(static_cast<size_t>(bounds[r + 1] - bounds[r]));
    return out;
}

[[maybe_unused]] Tensor my_part(const Tensor& flat, std::span<const int64_t> bounds, int rank) {
    const auto r = static_cast<size_t>(rank);
    return flat.slice(bounds[r], {bounds[r + 1] - bounds[r]});
}

std::vector<size_t> bytes_of(std::span<const int64_t> bounds, DType dtype) {
    std::vector<size_t> out;
    for (const int64_t b : bounds) out.push_back(static_cast<size_t>(b) * size_of(dtype));
    return out;
}

/// Calls start(rank, elements of a piece, request) for the pieces of every rank's part, none too long for
/// MPI's counts, and waits for all.
template <class Start>
void for_each_piece(std::span<const int64_t> bounds, Start start) {
    constexpr int64_t longest = int64_t{1} << 28;
    std::vector<MPI_Request> requests;
    for (size_t r = 0; r + 1 < bounds.size(); ++r) {
        for (int64_t begin = bounds[r]; begin < bounds[r + 1]; begin += longest) {
            const Range piece{begin, std::min(begin + longest, bounds[r + 1])};
            start(narrow<int>(r), piece, requests.emplace_back(MPI_REQUEST_NULL));
        }
    }
    CHECK_MPI(MPI_Waitall(narrow<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE));
}

}  // namespace

void Communicator::reduce_scatter(Context& ctx, Tensor& flat, std::span<const int64_t> bounds) const {
    if (!state_) return;
    const Timed timed(*state_->watch);
    expect_dtype(flat, DType::f32, "flat");
    if constexpr (has_cuda) {
        if (flat.device() == Device::cuda) {
            Tensor part = my_part(flat, bounds, rank());
            return state_->on_device->reduce_scatter(flat, part, counts_of(bounds));
        }
    }
    const int64_t mine = bounds[static_cast<size_t>(rank())];
    if (state_->one_node) {
        state_->memory().reduce_scatter(flat.dtype(), flat.raw(),
                                        flat.raw() + static_cast<size_t>(mine) * sizeof(float),
                                        bytes_of(bounds, DType::u8), ctx.threads());
        return;
    }
    for_each_piece(bounds, [&](int root, Range piece, MPI_Request& request) {
        float* const at = flat.data<float>() + piece.begin;
        const bool here = root == rank();
        CHECK_MPI(MPI_Ireduce(here ? MPI_IN_PLACE : at, here ? at : nullptr, narrow<int>(piece.size()),
                              MPI_FLOAT, MPI_SUM, root, state_->handle, &request));
    });
}

void Communicator::all_gather(Context& ctx, Tensor& flat, std::span<const int64_t> bounds) const {
    if (!state_) return;
    const Timed timed(*state_->watch);
    if constexpr (has_cuda) {
        if (flat.device() == Device::cuda)
            return state_->on_device->all_gather(my_part(flat, bounds, rank()), flat, counts_of(bounds));
    }
    if (state_->one_node) {
        const auto offsets = bytes_of(bounds, flat.dtype());
        const auto me = static_cast<size_t>(rank());
        state_->memory().all_gather({flat.raw() + offsets[me], offsets[me + 1] - offsets[me]},
                                    {flat.raw(), flat.bytes()}, offsets, ctx.threads());
        return;
    }
    for_each_piece(bounds, [&](int root, Range piece, MPI_Request& request) {
        CHECK_MPI(MPI_Ibcast(flat.raw() + static_cast<size_t>(piece.begin) * size_of(flat.dtype()),
                             narrow<int>(piece.size()), mpi_type(flat.dtype()), root, state_->handle,
                             &request));
    });
}

Tensor Communicator::gather_equal(Context& ctx, const Tensor& part) const {
    Shape shape = part.shape();
    shape.insert(shape.begin(), size());
    if (!state_) return part.view(std::move(shape));
    Shape flat = part.shape();
    flat.at(0) *= size();
    return all_gather(ctx, part, flat[0]).view(std::move(shape));
}

Request Communicator::send(const Tensor& x, int to, int tag) const {
    if constexpr (has_cuda) {
        if (x.device() == Device::cuda) return {x, state_->on_device->send(x, to, tag), state_->compute};
    }
    MPI_Request request = MPI_REQUEST_NULL;
    CHECK_MPI(MPI_Isend(x.raw(), narrow<int>(x.size()), mpi_type(x.dtype()), to, tag, handle(), &request));
    return {x, request, state_ ? state_->watch : nullptr};
}

Request Communicator::receive(Tensor& x, int from, int tag) const {
    if constexpr (has_cuda) {
        if (x.device() == Device::cuda) return {x, state_->on_device->receive(x, from, tag), state_->compute};
    }
    MPI_Request request = MPI_REQUEST_NULL;
    CHECK_MPI(MPI_Irecv(x.raw(), narrow<int>(x.size()), mpi_type(x.dtype()), from, tag, handle(), &request));
    return {x, request, state_ ? state_->watch : nullptr};
}

void Communicator::barrier() const {
    if (!state_) return;
    const Timed timed(*state_->watch);
    CHECK_MPI(MPI_Barrier(state_->handle));
}

void Communicator::all_reduce(std::span<double> values, Reduction reduction) const {
    if (!state_) return;
    const Timed timed(*state_->watch);
    CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, values.data(), narrow<int>(values.size()), MPI_DOUBLE,
                            reduction == Reduction::sum ? MPI_SUM : MPI_MAX, state_->handle));
}

int64_t Communicator::all_reduce(int64_t value, Reduction reduction) const {
    if (!state_) return value;
    const Timed timed(*state_->watch);
    CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T,
                            reduction == Reduction::sum ? MPI_SUM : MPI_MAX, state_->handle));
    return value;
}

std::string Communicator::broadcast(std::string content, int root) const {
    if (!state_) return content;
    const Timed timed(*state_->watch);
    auto size = static_cast<int64_t>(content.size());
    CHECK_MPI(MPI_Bcast(&size, 1, MPI_INT64_T, root, state_->handle));
    content.resize(static_cast<size_t>(size));
    CHECK_MPI(MPI_Bcast(content.data(), narrow<int>(size), MPI_CHAR, root, state_->handle));
    return content;
}

}  // namespace espalier::comm
