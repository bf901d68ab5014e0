// Streams and device memory of the stand-in runtime, as its other parts use them.
#pragma once

#include <cuda_runtime.h>

#include <functional>

namespace espalier::rig {

/// What the machine is to look like: it has ESPALIER_RIG_DEVICES devices, none without it; for tests of what
/// is missing ESPALIER_RIG_MACHINE = no-driver, old-card, mixed-cards, old-nccl.
bool machine_is(const char* what);

/// Puts work on a stream; it runs when somebody waits for it, so that what is used before its event is not
/// there yet.
void submit(cudaStream_t stream, std::function<void()> work);
/// Runs what the stream holds.
void finish(cudaStream_t stream);

/// What a meeting with other ranks reads of the device's memory, and where what it brings belongs.
struct Exchange {
    const void* from;
    size_t read;
    void* to;  // or nowhere
    size_t brought;
};
/// Puts a meeting on a stream and runs it at once, with the work that stands before it: other ranks wait for
/// the host. `meet` gets memory for what it brings, which goes to its place when
/// somebody waits for it, or reads it on this stream; until then there is no number in that place.
void exchange(cudaStream_t stream, const Exchange& what, std::function<void(char*)> meet);

/// What the stream has been given so far has not ended before this is true; its events wait for that, and the
/// host goes on.
void hold(cudaStream_t stream, std::function<bool()> has_ended);

/// While one of these lives, the host may touch device memory.
class Reach {
public:
    Reach();
    ~Reach();
    Reach(const Reach&) = delete;
    Reach& operator=(const Reach&) = delete;
};

/// What a block can have, on an H100.
constexpr size_t most_shared_bytes = size_t{227} << 10;
/// Throws where a grid, block or shared memory is larger than an H100's.
void expect_launchable(Index grid, Index block, size_t shared_bytes);

}  // namespace espalier::rig
