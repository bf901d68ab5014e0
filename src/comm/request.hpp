// A message on its way.
#pragma once

#include <mpi.h>

#include <memory>
#include <vector>

#include "src/comm/unwinding.hpp"
#include "src/core/device.hpp"
#include "src/core/stopwatch.hpp"
#include "src/core/tensor.hpp"

namespace espalier::comm {

/// Keeps the tensor's memory; wait() or the destructor ends it: on the host the message is then done, on
/// a device everything put on the compute stream from then on comes after it.
class Request {
public:
    Request() = default;
    /// A message of MPI, in pieces.
    Request(Tensor tensor, std::vector<MPI_Request> pieces)
        : tensor_(std::move(tensor)), pieces_(std::move(pieces)) {}
    /// A message of a device, which has passed when `done` has.
    Request(Tensor tensor, device::Event done, device::Stream compute)
        : tensor_(std::move(tensor)), done_(std::move(done)), compute_(compute) {}
    Request(Request&& other) noexcept { swap(other); }
    Request& operator=(Request&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Request();

    void wait();
    bool test();  ///< whether it has ended; true from then on
    /// Cancels a posted receive whose send will never come, and waits for the cancellation.
    void cancel();

    /// Lets waiting count on this watch.
    void time_with(std::shared_ptr<Stopwatch> watch) { watch_ = std::move(watch); }

private:
    void swap(Request& other) noexcept;
    int finish();  ///< MPI's code

    Tensor tensor_;
    std::vector<MPI_Request> pieces_;
    device::Event done_;  ///< of this message, whatever its stream was given after it
    device::Stream compute_ = nullptr;
    std::shared_ptr<Stopwatch> watch_;
    Unwinding unwinding_;
};

}  // namespace espalier::comm
