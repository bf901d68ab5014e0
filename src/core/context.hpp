// What a kernel needs of the machine it runs on: device, threads, memory, and the back end's caches.
#pragma once

#include <memory>
#include <typeindex>
#include <unordered_map>

#include "src/core/tensor.hpp"

namespace espalier {

class MemoryPool;

struct ContextOptions {
    Device device = Device::cpu;
    int threads = 1;  ///< OpenMP threads of this rank
};

/// One per rank, made in the job and passed down. Not for use from several threads at once.
class Context {
public:
    explicit Context(ContextOptions options);
    ~Context();
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

    bool on_gpu() const { return options_.device == Device::cuda; }
    Device device() const { return options_.device; }
    int threads() const { return options_.threads; }

    /// Memory with undefined content (debug builds fill it with NaN), 64-byte aligned; it goes back to the
    /// pool when the last handle is gone, so that a step allocates from the system only the first time.
    Tensor empty(Shape shape, DType dtype);
    Tensor zeros(Shape shape, DType dtype);

    /// Bytes the pool holds from the system, in use or not.
    size_t pooled_bytes() const;
    /// Gives what is not in use back to the system.
    void trim();

    /// The one T of this context, made from *this at first use: where a back end keeps compiled kernels.
    template <class T>
    T& resource() {
        auto& slot = resources_[std::type_index(typeid(T))];
        if (!slot) slot = std::make_shared<T>(*this);
        return *std::static_pointer_cast<T>(slot);
    }

private:
    ContextOptions options_;
    std::shared_ptr<MemoryPool> pool_;
    std::unordered_map<std::type_index, std::shared_ptr<void>> resources_;
};

}  // namespace espalier
