// MPI itself: its start and end, and its errors.
#pragma once

#include <mpi.h>

#include <string>

#include "src/comm/unwinding.hpp"

namespace espalier::comm {

/// Throws InternalError with MPI's own words when an MPI call did not succeed.
void check_mpi(int code, const char* call);
#define CHECK_MPI(call) ::espalier::comm::check_mpi((call), #call)

/// Initialises MPI (funneled) for its lifetime, with errors returned rather than fatal, and ROMIO for files
/// unless the user chose otherwise (measured faster than OMPIO on shared and local file systems). What MPI,
/// CUDA and NCCL read from the environment is set for them: sums that repeat (NCCL_NVLS_ENABLE=0) unless the
/// user chose otherwise, and, over any choice, as many queues of a device as it has
/// (CUDA_DEVICE_MAX_CONNECTIONS=32), without which messages could wait for each other for ever. Refuses, with
/// a message, N processes that a launcher meant to be one job but that did not find each other.
class Mpi {
public:
    Mpi(int& argc, char**& argv);
    ~Mpi();
    Mpi(const Mpi&) = delete;
    Mpi& operator=(const Mpi&) = delete;

    int rank() const { return rank_; }
    int size() const { return size_; }
    /// Ends all ranks at once; for the one place that catches what nobody else did.
    [[noreturn]] void abort(int exit_code) const;

private:
    Unwinding unwinding_;
    int rank_ = 0;
    int size_ = 1;
};

}  // namespace espalier::comm
