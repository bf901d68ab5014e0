#include "tests/cuda_on_host/runtime.hpp"

#include <sched.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/cuda_on_host/device_memory.hpp"

namespace espalier::rig {

/// Work in order, and how much of it is done.
class Queue {
public:
    enum class Kind { work, wait, meeting };

    void push(Kind kind, std::function<void()> run) {
        work_.push_back({kind, std::move(run)});
        ++submitted_;
    }
    uint64_t submitted() const { return submitted_; }

    /// All that is put here as number `count` or before is there afterwards.
    void run_until(uint64_t count) {
        advance(count);
        land(count);
        while (!ended(count)) sched_yield();
    }
    bool has_run(uint64_t count) {
        if (done_ < count) return false;
        land(count);
        return ended(count);
    }
    /// The same but for what meetings bring.
    void advance(uint64_t count) {
        const Reach reach;
        while (done_ < count) {
            const auto next = std::move(work_.front());
            work_.pop_front();
            if (next.kind == Kind::work) land(done_);
            ++done_;
            next.run();
        }
    }
    /// Inside of a meeting: what earlier ones brought, up to the last of it that lies in these bytes.
    void land_within(const void* from, size_t bytes) {
        const auto* const begin = static_cast<const char*>(from);
        uint64_t last = 0;
        for (const Landing& l : landings_) {
            if (l.to < begin + bytes && begin < l.to + l.content->size()) last = l.number;
        }
        land(last);
    }
    /// What has been put here has not ended before this is true.
    void hold(std::function<bool()> has_ended) { held_.push_back({submitted_, std::move(has_ended)}); }
    void keep(void* to, std::shared_ptr<std::vector<char>> content) {
        std::memset(to, 0xff, content->size());
        landings_.push_back({done_, static_cast<char*>(to), std::move(content)});
    }

private:
    struct Work {
        Kind kind;
        std::function<void()> run;
    };
    struct Landing {
        uint64_t number;
        char* to;
        std::shared_ptr<std::vector<char>> content;
    };
    struct Held {
        uint64_t number;
        std::function<bool()> has_ended;
    };
    bool ended(uint64_t count) {
        for (; !held_.empty() && held_.front().number <= count; held_.pop_front()) {
            if (!held_.front().has_ended()) return false;
        }
        return true;
    }
    void land(uint64_t count) {
        const Reach reach;
        for (; !landings_.empty() && landings_.front().number <= count; landings_.pop_front()) {
            const auto& content = *landings_.front().content;
            std::memcpy(landings_.front().to, content.data(), content.size());
        }
    }

    std::deque<Work> work_;
    std::deque<Landing> landings_;
    std::deque<Held> held_;
    uint64_t submitted_ = 0, done_ = 0;
};

}  // namespace espalier::rig

struct CUstream_st {
    std::shared_ptr<espalier::rig::Queue> queue = std::make_shared<espalier::rig::Queue>();
};

struct CUevent_st {
    std::shared_ptr<espalier::rig::Queue> queue;
    uint64_t at = 0;
    int asked = 0;  // whether it has passed
};

namespace espalier::rig {
namespace {

std::set<cudaStream_t>& streams() {
    static std::set<cudaStream_t> all;
    return all;
}

/// Blocks of pinned host memory: where each begins, and how long it is.
std::map<const char*, size_t>& pinned_blocks() {
    static std::map<const char*, size_t> all;
    return all;
}

bool pinned(const void* memory) {
    const auto* const at = static_cast<const char*>(memory);
    const auto next = pinned_blocks().upper_bound(at);
    if (next == pinned_blocks().begin()) return false;
    const auto& [begin, size] = *std::prev(next);
    return at < begin + size;
}

/// From pinned memory a device reads at any time until the copy is done, from pageable memory before the call
/// returns.
void copy_to_device(void* to, const void* from, size_t bytes, cudaStream_t stream) {
    auto sent = std::make_shared<std::string>(static_cast<const char*>(from), bytes);
    submit(stream, [=, is_pinned = pinned(from)] {
        if (is_pinned && std::memcmp(sent->data(), from, bytes) != 0)
            throw std::runtime_error("pinned host memory changed before it was copied to the device");
        std::memcpy(to, sent->data(), bytes);
    });
}

/// Into pinned memory when its turn comes, with no number there until then; into pageable memory before the
/// call returns.
void copy_to_host(void* to, const void* from, size_t bytes, cudaStream_t stream) {
    const bool is_pinned = pinned(to);
    if (is_pinned) std::memset(to, 0xff, bytes);
    submit(stream, [=] { std::memcpy(to, from, bytes); });
    if (!is_pinned) finish(stream);
}

}  // namespace

bool machine_is(const char* what) {
    const char* machine = std::getenv("ESPALIER_RIG_MACHINE");
    return machine && std::string(machine) == what;
}

void submit(cudaStream_t stream, std::function<void()> work) {
    stream->queue->push(Queue::Kind::work, std::move(work));
}

void finish(cudaStream_t stream) {
    stream->queue->run_until(stream->queue->submitted());
}

void exchange(cudaStream_t stream, const Exchange& what, std::function<void(char*)> meet) {
    Queue& queue = *stream->queue;
    queue.push(Queue::Kind::meeting, [&] {
        queue.land_within(what.from, what.read);
        const auto content = std::make_shared<std::vector<char>>(what.brought);
        meet(content->data());
        if (what.to && what.brought > 0) queue.keep(what.to, content);
    });
    queue.advance(queue.submitted());
}

void hold(cudaStream_t stream, std::function<bool()> has_ended) {
    stream->queue->hold(std::move(has_ended));
}

void expect_launchable(Index grid, Index block, size_t shared_bytes) {
    constexpr unsigned most_threads = 1024, most_rows = 65535;
    if (block.x * block.y * block.z > most_threads || block.z > 64 || grid.x > 0x7fffffffU ||
        grid.y > most_rows || grid.z > most_rows || shared_bytes > most_shared_bytes) {
        throw std::runtime_error("a launch that no device takes: grid " + std::to_string(grid.x) + " x " +
                                 std::to_string(grid.y) + " x " + std::to_string(grid.z) +
                                 ", shared memory " + std::to_string(shared_bytes));
    }
}

}  // namespace espalier::rig

using espalier::rig::machine_is;

const char* cudaGetErrorString(cudaError_t code) {
    return code == cudaErrorMemoryAllocation ? "out of memory" : "an error of the stand-in runtime";
}
const char* cudaGetErrorName(cudaError_t code) {
    return code == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorUnknown";
}
cudaError_t cudaGetLastError() {
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
    *version = machine_is("no-driver") ? 0 : CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
    *count = 0;
    if (machine_is("no-driver")) return cudaErrorInsufficientDriver;
    const char* devices = std::getenv("ESPALIER_RIG_DEVICES");
    *count = devices ? std::atoi(devices) : 0;
    return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    *properties = {"a processor in place of a GPU", espalier::rig::memory_limit(),
                   machine_is("old-card") ? 7 : 9, 0, 132};
    if (machine_is("mixed-cards") && device > 0)
        std::snprintf(properties->name, sizeof properties->name, "another processor in place of a GPU");
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
    std::snprintf(text, static_cast<size_t>(length), "0000:%02x:00.0", static_cast<unsigned>(device));
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int) {
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
    for (const cudaStream_t stream : espalier::rig::streams()) espalier::rig::finish(stream);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
    *memory = espalier::rig::allocate(bytes);
    return *memory || bytes == 0 ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFree(void* memory) {
    if (!std::uncaught_exceptions()) cudaDeviceSynchronize();
    espalier::rig::release(memory);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void** memory, size_t bytes) {
    *memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!*memory) return cudaErrorMemoryAllocation;
    espalier::rig::pinned_blocks()[static_cast<const char*>(*memory)] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
    if (!std::uncaught_exceptions()) cudaDeviceSynchronize();
    espalier::rig::pinned_blocks().erase(static_cast<const char*>(memory));
    std::free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
    *total = espalier::rig::memory_limit();
    *free = *total - espalier::rig::memory_used();
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    if (kind == cudaMemcpyHostToDevice) {
        espalier::rig::copy_to_device(to, from, bytes, stream);
    } else if (kind == cudaMemcpyDeviceToHost) {
        espalier::rig::copy_to_host(to, from, bytes, stream);
    } else {
        espalier::rig::submit(stream, [=] { std::memcpy(to, from, bytes); });
    }
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
    espalier::rig::submit(stream, [=] { std::memset(to, value, bytes); });
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
    *stream = new CUstream_st;
    espalier::rig::streams().insert(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    if (!std::uncaught_exceptions()) espalier::rig::finish(stream);
    espalier::rig::streams().erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    espalier::rig::finish(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    stream->queue->push(espalier::rig::Queue::Kind::wait,
                        [queue = event->queue, at = event->at] { queue->run_until(at); });
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    *event = new CUevent_st;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    event->queue = stream->queue;
    event->at = stream->queue->submitted();
    event->asked = 0;
    return cudaSuccess;
}

// A device gets on meanwhile; here it does where it is asked again and again.
cudaError_t cudaEventQuery(cudaEvent_t event) {
    constexpr int patience = 3;
    if (++event->asked >= patience) event->queue->run_until(event->at);
    return event->queue->has_run(event->at) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    event->queue->run_until(event->at);
    return cudaSuccess;
}
