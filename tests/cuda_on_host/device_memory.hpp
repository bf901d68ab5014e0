// Device memory of the stand-in runtime: one range of addresses that faults while no kernel runs, so that a
// host's access to a device tensor is found; blocks are filled with NaN and lie between redzones.
#pragma once

#include <cstddef>

namespace espalier::rig {

/// Null when the limit (ESPALIER_RIG_MEMORY bytes, 4 GiB without it) is passed.
void* allocate(size_t bytes);
void release(void* memory);
size_t memory_limit();
size_t memory_used();

}  // namespace espalier::rig
