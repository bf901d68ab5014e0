// A GPU's threads on a processor: blocks run one after another, the threads of a block as fibers that take
// turns in a random order at barriers and warp operations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace espalier::rig {

struct Index {
    unsigned x = 1, y = 1, z = 1;
};

/// What a lane shows its warp in one operation.
struct Slot {
    uint64_t words[4];
};

/// Runs body once for every thread of every block. Throws std::runtime_error where threads wait for each
/// other for ever (a barrier in a branch that not all take), or what body throws. Shared memory is filled
/// with NaN before each block.
void run_grid(Index grid, Index block, size_t shared_bytes, const std::function<void()>& body);

/// The order of the threads is a function of this; ESPALIER_RIG_SEED sets it at the start.
void set_seed(uint64_t seed);

/// Of the thread that runs.
std::byte* dynamic_shared();
int lane();
void wait_for_block();
/// Waits until every lane of the warp has put in its slot; gives all 32. They stay until this lane's next
/// call but one.
const Slot* exchange(const Slot& mine);
/// Of the thread that runs: a copy (of zeros where from is nullptr) that is made when its group is waited
/// for. Until then its bytes are NaN, whoever reads them.
void copy_later(void* to, const void* from, size_t bytes);
void commit_copies();
/// Waits for all groups but the `newest` last ones.
void wait_for_copies(uint64_t newest);
/// Throws, naming what a kernel did.
[[noreturn]] void fault(const char* what);

}  // namespace espalier::rig

// As kernels see them.
extern espalier::rig::Index threadIdx, blockIdx, blockDim, gridDim;
