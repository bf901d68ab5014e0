#include "src/comm/communicator.hpp"

#include <utility>

#include "src/comm/mpi.hpp"
#include "src/comm/nccl.hpp"
#include "src/comm/node_transport.hpp"
#include "src/comm/unwinding.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier::comm {

struct Communicator::State {
    MPI_Comm handle = MPI_COMM_NULL;
    int rank = 0;
    int size = 1;
    std::unique_ptr<Transport> host;
    std::unique_ptr<Transport> device;  // where attached
    std::shared_ptr<Stopwatch> watch = std::make_shared<Stopwatch>();
    Unwinding unwinding;

    ~State() {
        device.reset();
        host.reset();
        int finalized = 0;
        MPI_Finalized(&finalized);
        if (!finalized && !unwinding.under_way()) MPI_Comm_free(&handle);
    }

    /// What moves tensors like x.
    Transport& transport(const Tensor& x) const {
        if (x.device() == Device::cpu) return *host;
        if (!device) throw InternalError("a communicator that is not attached was given a device's tensor");
        return *device;
    }
};

namespace {

bool on_one_node(MPI_Comm comm, int size) {
    MPI_Comm node = MPI_COMM_NULL;
    CHECK_MPI(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    int on_node = 0;
    CHECK_MPI(MPI_Comm_size(node, &on_node));
    CHECK_MPI(MPI_Comm_free(&node));
    int fewest = 0;
    CHECK_MPI(MPI_Allreduce(&on_node, &fewest, 1, MPI_INT, MPI_MIN, comm));
    return fewest == size;
}

MPI_Op mpi_operation(Reduction reduction) {
    return reduction == Reduction::sum ? MPI_SUM : MPI_MAX;
}

}  // namespace

Communicator::Communicator(MPI_Comm handle) {
    auto state = std::make_shared<State>();
    state->handle = handle;
    CHECK_MPI(MPI_Comm_set_errhandler(handle, MPI_ERRORS_RETURN));
    CHECK_MPI(MPI_Comm_rank(handle, &state->rank));
    CHECK_MPI(MPI_Comm_size(handle, &state->size));
    if (state->size == 1) return;
    if (on_one_node(handle, state->size)) {
        state->host = std::make_unique<NodeTransport>(handle);
    } else {
        state->host = std::make_unique<MpiTransport>(handle);
    }
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
Stopwatch* Communicator::watch() const {
    return state_ ? state_->watch.get() : nullptr;
}

void Communicator::attach([[maybe_unused]] Context& ctx, [[maybe_unused]] std::span<const Lane> lanes) const {
    if constexpr (has_cuda) {
        if (!state_ || !ctx.on_gpu()) return;
        state_->device = std::make_unique<NcclTransport>(state_->handle, ctx.stream(), lanes);
    }
}

void Communicator::all_reduce(Context& ctx, Tensor& x) const {
    if (!state_ || x.size() == 0) return;
    const Timed timed(watch());
    state_->transport(x).all_reduce(ctx, x);
}

Tensor Communicator::all_gather(Context& ctx, const Tensor& part, int64_t rows) const {
    if (!state_) return part;
    const Timed timed(watch());
    Shape shape = part.shape();
    shape.at(0) = rows;
    Tensor whole = ctx.empty(std::move(shape), part.dtype());
    state_->transport(part)
        .all_gather(ctx, part, whole, even_offsets(rows, size(), part.row_elements()))
        .wait();
    return whole;
}

Tensor Communicator::reduce_scatter(Context& ctx, const Tensor& whole) const {
    return begin_reduce_scatter(ctx, whole).take();
}

Arriving Communicator::begin_reduce_scatter(Context& ctx, const Tensor& whole) const {
    if (!state_) return {whole, {}};
    const Timed timed(watch());
    const int64_t rows = whole.dim(0);
    Shape shape = whole.shape();
    shape[0] = my_rows(*this, rows).size();
    Tensor part = ctx.empty(std::move(shape), whole.dtype());
    Request request = state_->transport(whole).reduce_scatter(
        ctx, whole, part, even_offsets(rows, size(), whole.row_elements()));
    return {part, std::move(request)};
}

void Communicator::reduce_scatter(Context& ctx, Tensor& flat, std::span<const int64_t> offsets) const {
    begin_reduce_scatter(ctx, flat, offsets).wait();
}

Request Communicator::begin_reduce_scatter(Context& ctx, Tensor& flat,
                                           std::span<const int64_t> offsets) const {
    if (!state_) return {};
    const Timed timed(watch());
    expect_dtype(flat, DType::f32, "flat");
    Tensor mine = part_of(flat, offsets, rank());
    return state_->transport(flat).reduce_scatter(ctx, flat, mine, offsets);
}

void Communicator::all_gather(Context& ctx, Tensor& flat, std::span<const int64_t> offsets) const {
    begin_all_gather(ctx, flat, offsets).wait();
}

Request Communicator::begin_all_gather(Context& ctx, Tensor& flat, std::span<const int64_t> offsets) const {
    if (!state_) return {};
    const Timed timed(watch());
    return state_->transport(flat).all_gather(ctx, part_of(flat, offsets, rank()), flat, offsets);
}

Tensor Communicator::gather_equal(Context& ctx, const Tensor& part) const {
    Shape shape = part.shape();
    shape.insert(shape.begin(), size());
    if (!state_) return part.view(std::move(shape));
    return all_gather(ctx, part, part.dim(0) * size()).view(std::move(shape));
}

Request Communicator::send(const Tensor& x, int to, int tag) const {
    if (!state_) return MpiTransport(handle()).send(x, to, tag);
    const Timed timed(watch());
    Request request = state_->transport(x).send(x, to, tag);
    request.time_with(state_->watch);
    return request;
}

Request Communicator::receive(Tensor& x, int from, int tag) const {
    if (!state_) return MpiTransport(handle()).receive(x, from, tag);
    const Timed timed(watch());
    Request request = state_->transport(x).receive(x, from, tag);
    request.time_with(state_->watch);
    return request;
}

void Communicator::barrier() const {
    if (!state_) return;
    const Timed timed(watch());
    CHECK_MPI(MPI_Barrier(state_->handle));
}

void Communicator::all_reduce(std::span<double> values, Reduction reduction) const {
    if (!state_) return;
    const Timed timed(watch());
    CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, values.data(), narrow<int>(values.size()), MPI_DOUBLE,
                            mpi_operation(reduction), state_->handle));
}

int64_t Communicator::all_reduce(int64_t value, Reduction reduction) const {
    if (!state_) return value;
    const Timed timed(watch());
    CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T, mpi_operation(reduction), state_->handle));
    return value;
}

std::string Communicator::broadcast(std::string content, int root) const {
    if (!state_) return content;
    const Timed timed(watch());
    auto size = static_cast<int64_t>(content.size());
    CHECK_MPI(MPI_Bcast(&size, 1, MPI_INT64_T, root, state_->handle));
    content.resize(static_cast<size_t>(size));
    CHECK_MPI(MPI_Bcast(content.data(), narrow<int>(size), MPI_CHAR, root, state_->handle));
    return content;
}

}  // namespace espalier::comm
