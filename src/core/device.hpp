// The accelerator as src/core sees it: memory, streams, events. Implemented in device_cuda.cpp where
// has_cuda; this header is free of CUDA's, so that everybody may include it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

struct CUstream_st;
struct CUevent_st;

namespace espalier::device {

using Stream = CUstream_st*;  ///< what CUDA calls cudaStream_t

/// What the machine has.
struct Facts {
    std::string name;
    std::string bus_id;  ///< the same for two ranks exactly when they share a device
    int major = 0;       ///< compute capability
    int minor = 0;
    size_t memory = 0;  ///< bytes
};

/// Number of devices; throws UserError, with what to do, where there is no driver or no device.
int count();
Facts facts(int index);
/// Makes device `index` this process's; throws UserError where it is missing or older than what the build was
/// compiled for.
void select(int index);
/// Bytes of the device that select() chose, and those that nobody holds: no process, driver or library.
struct Memory {
    size_t total;
    size_t free;
};
Memory memory();

/// Device memory. Throws UserError with what is free where it does not suffice.
std::byte* allocate(size_t bytes);
void release(std::byte* memory) noexcept;
/// Host memory that copies can read and write while the host goes on. Throws UserError where the system
/// gives none.
std::byte* allocate_pinned(size_t bytes);
void release_pinned(std::byte* memory) noexcept;

/// Pending blocks of `first` streams are scheduled before others (cudaStreamCreateWithPriority).
enum class Priority { normal, first };
Stream make_stream(Priority priority = Priority::normal);
void destroy(Stream stream) noexcept;
/// Waits until everything put on the stream is done; errors of kernels surface here.
void wait(Stream stream);
/// Registers `check`, called repeatedly while the host blocks in wait(), of whatever stream or event; it
/// throws when a peer has failed, so that a lost rank is an error and not a hang. One list for the process:
/// the rank's main thread alone registers and waits; until unwatch() with the same owner.
void watch(const void* owner, std::function<void()> check);
void unwatch(const void* owner) noexcept;
/// Waits for every stream.
void wait_for_all();
/// Work put on `later` from now on starts when what is on `earlier` now is done.
void order(Stream earlier, Stream later);

/// A place in a stream, behind what was put on it before. It may be let go before it has passed.
using Event = std::shared_ptr<CUevent_st>;
Event record(Stream stream);
bool passed(const Event& event);
/// The host waits until it has passed.
void wait(const Event& event);
void order(const Event& earlier, Stream later);

enum class Copy { to_device, to_host };
/// Asynchronous on the stream: pinned host memory must stay as it is until the copy is done. Pageable memory
/// is read before this returns, and written too, after all that is on the stream.
void copy(std::byte* to, const std::byte* from, size_t bytes, Copy direction, Stream stream);
void set_bytes(std::byte* to, int value, size_t bytes, Stream stream);

}  // namespace espalier::device
