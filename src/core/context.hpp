// What a kernel needs of the machine it runs on: device, threads, memory, and the back end's caches.
#pragma once

#include <deque>
#include <memory>
#include <typeindex>
#include <unordered_map>

#include "src/core/stopwatch.hpp"
#include "src/core/tensor.hpp"

struct CUstream_st;
struct CUevent_st;

namespace espalier {

class MemoryPool;

struct ContextOptions {
    Device device = Device::cpu;
    int threads = 1;       ///< OpenMP threads of this rank
    int device_index = 0;  ///< of the GPU, where device is cuda
};

/// A copy to the host that goes on beside the step.
class PendingRead {
public:
    PendingRead() = default;  ///< an empty read is complete
    explicit PendingRead(std::shared_ptr<CUevent_st> event) : event_(std::move(event)) {}
    bool done() const;
    void wait() const;

private:
    std::shared_ptr<CUevent_st> event_;
};

/// One per rank, made in the job and passed down. Not for use from several threads at once.
///
/// On a GPU every kernel is put on stream() and returns at once; results reach the host through
/// to_host(), which waits for them, and nothing else may look into a device tensor. Memory that goes back to
/// the pool is given out again in stream order, so that a tensor may go out of scope while kernels that use
/// it are still to run; whoever uses it on another stream keeps the handle until device::order() has brought
/// the streams together. All host memory that such a context gives is pinned, so that copies run
/// while the host goes on, and comes from a pool of its own.
class Context {
public:
    explicit Context(ContextOptions options);
    ~Context();
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

    bool on_gpu() const { return options_.device == Device::cuda; }
    Device device() const { return options_.device; }
    int threads() const { return options_.threads; }

    /// Counts the caller's scope as computing: passes of a model, a loss, an optimizer's step. On a GPU that
    /// is the time to put their kernels on stream(), and to wait for it where that is done inside the scope.
    [[nodiscard]] Timed computing() { return Timed(&computing_); }
    double seconds_computing() const { return computing_.seconds(); }

    /// Memory with undefined content (debug builds fill it with NaN), 64-byte aligned; it goes back to the
    /// pool when the last handle is gone, so that a step allocates from the system only the first time.
    Tensor empty(Shape shape, DType dtype);
    Tensor zeros(Shape shape, DType dtype);
    /// The same on the host, whatever the device.
    Tensor empty_on_host(Shape shape, DType dtype);

    /// A host tensor on this context's device, and the way back; the tensor itself where it is
    /// there already. The caller must not change `host` until the copy is done (any later wait()); the handle
    /// may be dropped at once.
    Tensor to_device(const Tensor& host);
    Tensor to_host(const Tensor& x);
    /// Sets `host`, a host tensor of the same shape and dtype, from x as stream() leaves it: waits for that.
    void read(const Tensor& x, Tensor& host);
    /// Sets x from such a tensor, which the caller must not change until the copy is done (any later wait()).
    void write(const Tensor& host, Tensor& x);
    /// Begins to set `host` from x as stream() leaves it now, on a stream for copies. Until after_reads(), x
    /// stays as it is; both are kept by the caller until the copy is done. On a CPU it is done on return.
    PendingRead begin_read(const Tensor& x, Tensor& host);
    /// What is put on stream() from now on comes after all reads that were begun.
    void after_reads();

    /// Where kernels run; null on a CPU.
    CUstream_st* stream() const { return stream_; }
    /// Waits for all of it.
    void wait();

    /// Bytes the pool holds from the system, in use or not.
    size_t pooled_bytes() const;
    /// Gives what is not in use back to the system; on a device after all its streams, messages to other
    /// ranks among them.
    void trim();

    /// The one T of this context, made from *this at first use: where a back end keeps compiled kernels.
    template <class T>
    T& resource() {
        auto& slot = resources_[std::type_index(typeid(T))];
        if (!slot) slot = std::make_shared<T>(*this);
        return *std::static_pointer_cast<T>(slot);
    }

private:
    /// What a copy to the device reads, until it has.
    struct Sent {
        Tensor host;
        std::shared_ptr<CUevent_st> copied;
    };
    void keep_until_copied(const Tensor& host);

    ContextOptions options_;
    Stopwatch computing_;
    CUstream_st* stream_ = nullptr;
    CUstream_st* copies_ = nullptr;  // for reads beside the step
    std::deque<Sent> sent_;          // in the order of stream_
    size_t sent_bytes_ = 0;
    std::shared_ptr<CUevent_st> read_;  // behind the last of begin_read
    std::shared_ptr<MemoryPool> host_pool_;
    std::shared_ptr<MemoryPool> pool_;  // of the device; the host's where that is the device
    std::unordered_map<std::type_index, std::shared_ptr<void>> resources_;
};

/// What an op expects of its arguments. Each throws InternalError naming `what` unless the tensor is where
/// the context's kernels run and, as far as it is given, has exactly this shape and this dtype.
void expect_here(const Context& ctx, const Tensor& tensor, const char* what);
void expect(const Context& ctx, const Tensor& tensor, const Shape& shape, const char* what);
void expect(const Context& ctx, const Tensor& tensor, const Shape& shape, DType dtype, const char* what);

}  // namespace espalier
