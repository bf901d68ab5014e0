#include "src/core/context.hpp"

#include <omp.h>

#include <cstring>
#include <utility>

#include "src/core/device.hpp"
#include "src/core/has_cuda.hpp"
#include "src/core/memory_pool.hpp"

namespace espalier {
namespace {

/// Blocks that copies to the device still read hold at most this: a reader of files is not far ahead.
constexpr size_t most_sent = size_t{256} << 20;

void expect_same(const Tensor& x, const Tensor& host) {
    expect_shape(host, x.shape(), "host");
    expect_dtype(host, x.dtype(), "host");
}

}  // namespace

bool PendingRead::done() const {
    if constexpr (has_cuda) return !event_ || device::passed(event_);
    return true;
}

void PendingRead::wait() const {
    if constexpr (has_cuda) {
        if (event_) device::wait(event_);
    }
}

Context::Context(ContextOptions options)
    : options_(options),
      host_pool_(std::make_shared<MemoryPool>(options.device == Device::cuda ? MemoryPool::Source::pinned
                                                                             : MemoryPool::Source::host)),
      pool_(host_pool_) {
    omp_set_num_threads(options_.threads);
    if (options_.device == Device::cpu) return;
    if constexpr (has_cuda) {
        device::select(options_.device_index);
        stream_ = device::make_stream();
        copies_ = device::make_stream();
        pool_ = std::make_shared<MemoryPool>(MemoryPool::Source::device);
    } else {
        fail(
            "--device cuda: this build has no CUDA back end; use --device cpu, or build with "
            "ESPALIER_CUDA=ON");
    }
}

Context::~Context() {
    resources_.clear();
    if constexpr (has_cuda) {
        for (CUstream_st* stream : {stream_, copies_}) {
            if (stream) device::destroy(stream);
        }
    }
}

Tensor Context::empty(Shape shape, DType dtype) {
    if (!on_gpu()) return empty_on_host(std::move(shape), dtype);
    const size_t bytes = static_cast<size_t>(element_count(shape)) * size_of(dtype);
    Tensor out(pool_->get(bytes), std::move(shape), dtype, Device::cuda);
#ifdef ESPALIER_DEBUG
    if constexpr (has_cuda) device::set_bytes(out.raw(), 0xff, bytes, stream_);
#endif
    return out;
}

Tensor Context::empty_on_host(Shape shape, DType dtype) {
    const size_t bytes = static_cast<size_t>(element_count(shape)) * size_of(dtype);
    Tensor out(host_pool_->get(bytes), std::move(shape), dtype);
#ifdef ESPALIER_DEBUG
    std::memset(out.raw(), 0xff, bytes);
#endif
    return out;
}

Tensor Context::zeros(Shape shape, DType dtype) {
    Tensor out = empty(std::move(shape), dtype);
    if constexpr (has_cuda) {
        if (on_gpu()) {
            device::set_bytes(out.raw(), 0, out.bytes(), stream_);
            return out;
        }
    }
    std::memset(out.raw(), 0, out.bytes());
    return out;
}

Tensor Context::to_device(const Tensor& host) {
    if (!on_gpu() || host.device() == Device::cuda) return host;
    Tensor out = empty(host.shape(), host.dtype());
    write(host, out);
    return out;
}

Tensor Context::to_host(const Tensor& x) {
    if (x.device() == Device::cpu) return x;
    Tensor out = empty_on_host(x.shape(), x.dtype());
    read(x, out);
    return out;
}

void Context::read(const Tensor& x, Tensor& host) {
    expect_same(x, host);
    if constexpr (has_cuda) {
        if (on_gpu() && x.device() == Device::cuda) {
            device::copy(host.raw(), x.raw(), x.bytes(), device::Copy::to_host, stream_);
            return wait();
        }
    }
    std::memcpy(host.raw(), x.raw(), x.bytes());
}

void Context::write(const Tensor& host, Tensor& x) {
    expect_same(x, host);
    if constexpr (has_cuda) {
        if (on_gpu() && x.device() == Device::cuda) {
            device::copy(x.raw(), host.raw(), x.bytes(), device::Copy::to_device, stream_);
            return keep_until_copied(host);
        }
    }
    std::memcpy(x.raw(), host.raw(), x.bytes());
}

PendingRead Context::begin_read(const Tensor& x, Tensor& host) {
    if constexpr (has_cuda) {
        if (on_gpu() && x.device() == Device::cuda) {
            expect_same(x, host);
            device::order(stream_, copies_);
            device::copy(host.raw(), x.raw(), x.bytes(), device::Copy::to_host, copies_);
            read_ = device::record(copies_);
            return PendingRead(read_);
        }
    }
    read(x, host);
    return {};
}

void Context::after_reads() {
    if constexpr (has_cuda) {
        if (read_) device::order(std::exchange(read_, {}), stream_);
    }
}

void Context::keep_until_copied(const Tensor& host) {
    if constexpr (has_cuda) {
        sent_.push_back({host, device::record(stream_)});
        sent_bytes_ += host.bytes();
        while (!sent_.empty() && (sent_bytes_ > most_sent || device::passed(sent_.front().copied))) {
            device::wait(sent_.front().copied);
            sent_bytes_ -= sent_.front().host.bytes();
            sent_.pop_front();
        }
    }
}

void Context::wait() {
    if constexpr (has_cuda) {
        if (on_gpu()) device::wait(stream_);
        sent_.clear();
        sent_bytes_ = 0;
    }
}

size_t Context::pooled_bytes() const {
    return pool_->held();
}

void Context::trim() {
    pool_->trim();
    if (host_pool_ != pool_) host_pool_->trim();
}

void expect_here(const Context& ctx, const Tensor& tensor, const char* what) {
    if (tensor.device() == ctx.device()) return;
    throw InternalError(ctx.on_gpu() ? fmt::format("{}: on the host, expected on the device", what)
                                     : fmt::format("{}: on the device, expected on the host", what));
}

void expect(const Context& ctx, const Tensor& tensor, const Shape& shape, const char* what) {
    expect_here(ctx, tensor, what);
    expect_shape(tensor, shape, what);
}

void expect(const Context& ctx, const Tensor& tensor, const Shape& shape, DType dtype, const char* what) {
    expect(ctx, tensor, shape, what);
    expect_dtype(tensor, dtype, what);
}

}  // namespace espalier
