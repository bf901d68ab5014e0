// Work that rank 0 does for all, and errors that all ranks see alike.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace espalier::io {

int rank_in(MPI_Comm comm);
int ranks_in(MPI_Comm comm);

/// Collective. Runs `work` on rank 0 and gives its result to every rank; an exception there is thrown on
/// every rank: DamagedFile, MachineError, UserError and bad_alloc as themselves, a file system's error as one
/// of the second or third, everything else as InternalError.
std::string on_root(MPI_Comm comm, const std::function<std::string()>& work);
/// Collective. Runs `work` on every rank; if it throws on any, every rank throws what the lowest such rank
/// threw.
void on_all(MPI_Comm comm, const std::function<void()>& work);
/// Collective. Element by element modulo 2^64, on every rank.
std::vector<uint64_t> sum_over_ranks(MPI_Comm comm, std::vector<uint64_t> values);

}  // namespace espalier::io
