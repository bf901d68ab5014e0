#include "tests/cuda_on_host/threads.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/cuda_on_host/shared_variables.hpp"

#ifdef ESPALIER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

espalier::rig::Index threadIdx, blockIdx, blockDim, gridDim;

// Saves what the x86-64 ABI lets a function rely on, on the old stack, and takes it from the new one.
extern "C" void espalier_switch_stack(void** old_stack, void* new_stack);
asm(R"(
.text
.globl espalier_switch_stack
.type espalier_switch_stack, @function
espalier_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size espalier_switch_stack, .-espalier_switch_stack
)");

namespace espalier::rig {
namespace {

constexpr unsigned warp_size = 32, most_threads = 1024;
constexpr size_t stack_bytes = size_t{256} << 10;

struct Copy {
    void* to;
    const void* from;
    size_t bytes;
    uint64_t group;
};

enum class State { ready, at_barrier, in_warp, done };

struct Fiber {
    std::byte* memory = nullptr;
    void* stack = nullptr;
    void* fake_stack = nullptr;  // of the address sanitizer
    State state = State::done;
    Index index;
    unsigned number = 0;
    uint64_t operations = 0;   // of its warp so far
    std::vector<Copy> copies;  // on their way
    uint64_t groups = 0;       // of copies so far
};

struct Warp {
    unsigned lanes = 0;
    unsigned arrived = 0;
    Slot slots[2][warp_size];
};

struct FreeAligned {
    void operator()(std::byte* memory) const { ::operator delete[](memory, std::align_val_t{16}); }
};

struct Machine {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<unsigned> ready;
    std::unique_ptr<std::byte[], FreeAligned> shared;
    const std::function<void()>* body = nullptr;
    std::exception_ptr error;
    Fiber* current = nullptr;
    void* scheduler_stack = nullptr;
    void* scheduler_fake_stack = nullptr;
    const void* scheduler_bottom = nullptr;
    size_t scheduler_size = 0;
    uint64_t random = 1;

    Machine() : fibers(most_threads), warps(most_threads / warp_size) {
        for (unsigned i = 0; i < most_threads; ++i) {
            void* memory = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (memory == MAP_FAILED) throw std::bad_alloc();
            fibers[i].memory = static_cast<std::byte*>(memory);
            fibers[i].number = i;
        }
        const char* seed = std::getenv("ESPALIER_RIG_SEED");
        random = seed ? std::strtoull(seed, nullptr, 10) * 2 + 1 : 1;
    }
};

Machine& machine() {
    static Machine the_one;
    return the_one;
}

/// xorshift64 (Marsaglia 2003).
unsigned random_below(Machine& m, size_t n) {
    m.random ^= m.random << 13;
    m.random ^= m.random >> 7;
    m.random ^= m.random << 17;
    return static_cast<unsigned>((m.random >> 32) * n >> 32);
}

void to_scheduler(Fiber& fiber) {
    Machine& m = machine();
#ifdef ESPALIER_ASAN
    __sanitizer_start_switch_fiber(fiber.state == State::done ? nullptr : &fiber.fake_stack,
                                   m.scheduler_bottom, m.scheduler_size);
#endif
    espalier_switch_stack(&fiber.stack, m.scheduler_stack);
#ifdef ESPALIER_ASAN
    __sanitizer_finish_switch_fiber(fiber.fake_stack, &m.scheduler_bottom, &m.scheduler_size);
#endif
}

void fiber_main() {
    Machine& m = machine();
#ifdef ESPALIER_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &m.scheduler_bottom, &m.scheduler_size);
#endif
    Fiber& fiber = *m.current;
    try {
        (*m.body)();
    } catch (...) {
        m.error = std::current_exception();
    }
    fiber.state = State::done;
    to_scheduler(fiber);
    std::abort();
}

void prepare(Fiber& fiber) {
    auto* top = reinterpret_cast<uintptr_t*>(fiber.memory + stack_bytes) -
                1;  // as after a call: 8 beside a multiple of 16
    *--top = reinterpret_cast<uintptr_t>(&fiber_main);
    for (int saved = 0; saved < 6; ++saved) *--top = 0;
    fiber.stack = top;
    fiber.state = State::ready;
    fiber.operations = 0;
    fiber.copies.clear();
    fiber.groups = 0;
}

void resume(Machine& m, Fiber& fiber) {
    m.current = &fiber;
    threadIdx = fiber.index;
#ifdef ESPALIER_ASAN
    __sanitizer_start_switch_fiber(&m.scheduler_fake_stack, fiber.memory, stack_bytes);
#endif
    espalier_switch_stack(&m.scheduler_stack, fiber.stack);
#ifdef ESPALIER_ASAN
    __sanitizer_finish_switch_fiber(m.scheduler_fake_stack, nullptr, nullptr);
#endif
}

void make_ready(Machine& m, Fiber& fiber) {
    fiber.state = State::ready;
    m.ready.push_back(fiber.number);
}

/// Threads that are left behind when one has failed: their frames are not unwound.
void abandon([[maybe_unused]] Machine& m, [[maybe_unused]] unsigned threads) {
#ifdef ESPALIER_ASAN
    for (unsigned i = 0; i < threads; ++i) __asan_unpoison_memory_region(m.fibers[i].memory, stack_bytes);
#endif
    m.ready.clear();
}

/// Of a variable as the symbol table has it: clang counts the redzone behind it.
size_t size_without_redzone(std::span<char> variable) {
#ifdef ESPALIER_ASAN
    if (const void* redzone = __asan_region_is_poisoned(variable.data(), variable.size()))
        return static_cast<size_t>(static_cast<const char*>(redzone) - variable.data());
#endif
    return variable.size();
}

/// NaN in every float that a kernel might read before it is written.
void poison_static_shared() {
    for (const auto variable : shared_variables())
        std::memset(variable.data(), 0xff, size_without_redzone(variable));
}

void run_block(Machine& m, Index block, size_t shared_bytes) {
    const unsigned threads = block.x * block.y * block.z, warps = (threads + warp_size - 1) / warp_size;
    m.shared.reset(new (std::align_val_t{16}) std::byte[shared_bytes]);
    std::memset(m.shared.get(), 0xff, shared_bytes);
    poison_static_shared();
    for (unsigned w = 0; w < warps; ++w) {
        m.warps[w].lanes = threads - w * warp_size < warp_size ? threads - w * warp_size : warp_size;
        m.warps[w].arrived = 0;
    }
    m.ready.clear();
    for (unsigned i = 0; i < threads; ++i) {
        m.fibers[i].index = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
        prepare(m.fibers[i]);
        m.ready.push_back(i);
    }
    unsigned live = threads, at_barrier = 0;
    while (live > 0) {
        if (m.ready.empty()) {
            if (at_barrier != live) {
                abandon(m, threads);
                throw std::runtime_error("a barrier or warp operation that not all of its threads reach");
            }
            at_barrier = 0;
            for (unsigned i = 0; i < threads; ++i) {
                if (m.fibers[i].state == State::at_barrier) make_ready(m, m.fibers[i]);
            }
        }
        const unsigned choice = random_below(m, m.ready.size());
        Fiber& fiber = m.fibers[m.ready[choice]];
        m.ready[choice] = m.ready.back();
        m.ready.pop_back();
        resume(m, fiber);
        if (m.error) {
            abandon(m, threads);
            std::rethrow_exception(std::exchange(m.error, nullptr));
        }
        if (fiber.state == State::done) {
            --live;
        } else if (fiber.state == State::at_barrier) {
            ++at_barrier;
        } else {
            const unsigned w = fiber.number / warp_size;
            if (++m.warps[w].arrived < m.warps[w].lanes) continue;
            m.warps[w].arrived = 0;
            for (unsigned l = 0; l < m.warps[w].lanes; ++l) make_ready(m, m.fibers[w * warp_size + l]);
        }
    }
}

}  // namespace

void run_grid(Index grid, Index block, size_t shared_bytes, const std::function<void()>& body) {
    Machine& m = machine();
    m.body = &body;
    gridDim = grid;
    blockDim = block;
    for (unsigned z = 0; z < grid.z; ++z) {
        for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = {x, y, z};
                run_block(m, block, shared_bytes);
            }
        }
    }
}

void set_seed(uint64_t seed) {
    machine().random = 2 * seed + 1;
}

std::byte* dynamic_shared() {
    return machine().shared.get();
}

int lane() {
    return static_cast<int>(machine().current->number % warp_size);
}

void wait_for_block() {
    Fiber& fiber = *machine().current;
    fiber.state = State::at_barrier;
    to_scheduler(fiber);
}

const Slot* exchange(const Slot& mine) {
    Machine& m = machine();
    Fiber& fiber = *m.current;
    auto& slots = m.warps[fiber.number / warp_size].slots[fiber.operations++ % 2];
    slots[fiber.number % warp_size] = mine;
    fiber.state = State::in_warp;
    to_scheduler(fiber);
    return slots;
}

void copy_later(void* to, const void* from, size_t bytes) {
    Fiber& fiber = *machine().current;
    std::memset(to, 0xff, bytes);
    fiber.copies.push_back({to, from, bytes, fiber.groups});
}

void commit_copies() {
    ++machine().current->groups;
}

void wait_for_copies(uint64_t newest) {
    Fiber& fiber = *machine().current;
    std::erase_if(fiber.copies, [&](const Copy& copy) {
        if (copy.group + newest >= fiber.groups) return false;
        if (copy.from) {
            std::memcpy(copy.to, copy.from, copy.bytes);
        } else {
            std::memset(copy.to, 0, copy.bytes);
        }
        return true;
    });
}

void fault(const char* what) {
    const auto text = [](Index i) {
        return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
    };
    throw std::runtime_error(std::string(what) + " in thread " + text(threadIdx) + " of block " +
                             text(blockIdx));
}

}  // namespace espalier::rig
