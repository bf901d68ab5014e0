// The K best tokens of rows. A block selects the K-th largest of its row's keys digit by digit (radix
// select): with 8 bits a digit most rows of logits are done after two or three of eight, each of which reads
// the row once; 128256 logits are 501 KiB, so 8192 rows are 4.2 GB a digit, 1.25 ms on an H100. The logits
// share few values of their first digit, whose counts in shared memory then cost as much as the reads.
#include "kernels/cuda/top_k.hpp"

#include <bit>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/vocabulary_part.hpp"
#include "src/core/error.hpp"

namespace espalier::cuda {
namespace {

constexpr int threads = 512;
constexpr int digit_bits = 8, digits = 1 << digit_bits;

/// A logit and its token as one number: larger for a larger logit, then for a lower id; 0 is no token.
using Key = unsigned long long;

__device__ Key key_of(float logit, int32_t id) {
    uint32_t bits;
    logit += 0.0f;  // -0 is as large as 0
    memcpy(&bits, &logit, sizeof bits);
    bits = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
    return Key{bits} << 32 | ~static_cast<uint32_t>(id);
}
__device__ float logit_of(Key key) {
    auto bits = static_cast<uint32_t>(key >> 32);
    bits = (bits & 0x80000000U) != 0 ? bits & 0x7fffffffU : ~bits;
    float logit;
    memcpy(&logit, &bits, sizeof logit);
    return logit;
}
__device__ int32_t id_of(Key key) {
    return static_cast<int32_t>(~static_cast<uint32_t>(key));
}

/// A row's candidates: a rank's logits.
struct Logits {
    const float* values;  // [rows, n]
    int64_t n, first_id;
    __device__ int64_t count() const { return n; }
    __device__ int64_t present(int64_t) const { return n; }
    __device__ Key operator()(int64_t row, int64_t j) const {
        return key_of(values[row * n + j], static_cast<int32_t>(first_id + j));
    }
};

/// What is best so far, and the logits of a part that follows.
struct BestAndLogits {
    const float* values;  // [rows, k]
    const int32_t* ids;
    int64_t k;
    Logits logits;
    __device__ int64_t count() const { return k + logits.n; }
    /// All threads of the block call it.
    __device__ int64_t present(int64_t row) const {
        int64_t mine = 0;
        for (int64_t j = threadIdx.x; j < k; j += threads) mine += ids[row * k + j] >= 0 ? 1 : 0;
        return logits.n + reduce_block<Sum, threads>(mine);
    }
    __device__ Key operator()(int64_t row, int64_t j) const {
        if (j >= k) return logits(row, j - k);
        const int64_t at = row * k + j;
        return ids[at] < 0 ? 0 : key_of(values[at], ids[at]);
    }
};

/// What every rank found best.
struct Gathered {
    const float* values;  // [parts, rows, k]
    const int32_t* ids;
    int64_t parts, rows, k;
    __device__ int64_t count() const { return parts * k; }
    __device__ Key operator()(int64_t row, int64_t j) const {
        const int64_t at = (j / k * rows + row) * k + j % k;
        return ids[at] < 0 ? 0 : key_of(values[at], ids[at]);
    }
    /// All threads of the block call it.
    __device__ int64_t present(int64_t row) const {
        int64_t mine = 0;
        for (int64_t j = threadIdx.x; j < count(); j += threads) mine += (*this)(row, j) != 0 ? 1 : 0;
        return reduce_block<Sum, threads>(mine);
    }
};

struct Selection {
    Key prefix;  // digits of the threshold that are known
    int needed;  // of the keys that begin so
    int found;   // keys that do
};

/// The digit in which the needed-th largest key lies, from how often each occurs among those with the prefix.
__device__ Selection narrowed(const Selection& s, const int* occurs) {
    int above = 0;
    for (int digit = digits - 1; digit > 0; --digit) {
        if (above + occurs[digit] >= s.needed)
            return {s.prefix << digit_bits | static_cast<Key>(digit), s.needed - above, occurs[digit]};
        above += occurs[digit];
    }
    return {s.prefix << digit_bits, s.needed - above, occurs[0]};
}

/// Largest first; `size` is a power of two. Bitonic (Batcher 1968).
__device__ void sort_block(Key* keys, int size) {
    for (int run = 2; run <= size; run *= 2) {
        for (int apart = run / 2; apart > 0; apart /= 2) {
            for (int i = static_cast<int>(threadIdx.x); i < size; i += threads) {
                const int other = i ^ apart;
                if (other < i) continue;
                const bool falls = (i & run) == 0;
                const Key a = keys[i], b = keys[other];
                if ((a < b) == falls) {
                    keys[i] = b;
                    keys[other] = a;
                }
            }
            __syncthreads();
        }
    }
}

/// A block has a row, and writes what is best when it has read all: candidates may stand there. Keys differ,
/// so that their order, and so the result, is the same from run to run in whatever order threads count and
/// collect them. Dynamic shared memory: `size` keys, a power of two >= k.
template <class Candidates>
__global__ void best_of_rows(Candidates candidates, int k, int size, float* values, int32_t* ids) {
    __shared__ int occurs[digits];
    __shared__ Selection selection;
    __shared__ int collected;
    Key* const best = dynamic_shared<Key>();
    const int64_t row = blockIdx.x, n = candidates.count(), present = candidates.present(row);
    const int wanted = present < k ? static_cast<int>(present) : k;

    Selection s{0, wanted, static_cast<int>(present)};
    int shift = 64;
    while (s.needed < s.found) {
        shift -= digit_bits;
        for (int d = static_cast<int>(threadIdx.x); d < digits; d += threads) occurs[d] = 0;
        __syncthreads();
        for (int64_t j = threadIdx.x; j < n; j += threads) {
            const Key key = candidates(row, j);
            const bool counts = shift + digit_bits == 64 || key >> (shift + digit_bits) == s.prefix;
            if (key != 0 && counts) atomicAdd(&occurs[key >> shift & (digits - 1)], 1);
        }
        __syncthreads();
        if (threadIdx.x == 0) selection = narrowed(s, occurs);
        __syncthreads();
        s = selection;
    }
    const Key least = shift == 64 ? 0 : s.prefix << shift;

    if (threadIdx.x == 0) collected = 0;
    for (int i = static_cast<int>(threadIdx.x); i < size; i += threads) best[i] = 0;
    __syncthreads();
    for (int64_t j = threadIdx.x; j < n; j += threads) {
        const Key key = candidates(row, j);
        if (key != 0 && key >= least) best[atomicAdd(&collected, 1)] = key;
    }
    __syncthreads();
    sort_block(best, size);
    for (int i = static_cast<int>(threadIdx.x); i < k; i += threads) {
        values[row * k + i] = i < wanted ? logit_of(best[i]) : -INFINITY;
        ids[row * k + i] = i < wanted ? id_of(best[i]) : -1;
    }
}

template <class Candidates>
void best(Context& ctx, const Candidates& candidates, int64_t rows, Tensor& values, Tensor& ids) {
    const auto most =
        static_cast<int64_t>(std::bit_floor(most_shared_bytes(best_of_rows<Candidates>) / sizeof(Key)));
    const int64_t k = values.dim(1);
    ESPALIER_REQUIRE(
        k <= most, "--top-k {}: on this device at most {}; use --device cpu, or --top-k 0 for all", k, most);
    int size = 1;
    while (size < k) size *= 2;
    launch(best_of_rows<Candidates>, narrow<unsigned>(rows), threads, static_cast<size_t>(size) * sizeof(Key),
           ctx.stream(), candidates, static_cast<int>(k), size, data<float>(values), data<int32_t>(ids));
}

constexpr int entry_threads = 256;  // where a thread has an entry

__global__ void pick(const float* logits, int64_t n, const int32_t* ids, int64_t k, int64_t entries,
                     int64_t first_id, float* picked) {
    const int64_t j = int64_t{blockIdx.x} * entry_threads + threadIdx.x;
    if (j >= entries) return;
    const int64_t column = column_of(ids[j], first_id, n);
    picked[j] = column >= 0 ? logits[j / k * n + column] : 0.0f;
}

}  // namespace

void row_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids) {
    best(ctx, Logits{data<float>(logits), logits.dim(1), first_id}, logits.dim(0), values, ids);
}

void add_to_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids) {
    const BestAndLogits candidates{data<float>(values),
                                   data<int32_t>(ids),
                                   values.dim(1),
                                   {data<float>(logits), logits.dim(1), first_id}};
    best(ctx, candidates, logits.dim(0), values, ids);
}

void merge_top_k(Context& ctx, const Tensor& all_values, const Tensor& all_ids, Tensor& values, Tensor& ids) {
    const auto [parts, rows, k] = all_values.dims<3>();
    best(ctx, Gathered{data<float>(all_values), data<int32_t>(all_ids), parts, rows, k}, rows, values, ids);
}

void pick_logits(Context& ctx, const Tensor& logits, const Tensor& ids, int64_t first_id, Tensor& picked) {
    launch(pick, blocks_for(ids.size(), entry_threads), entry_threads, 0, ctx.stream(), data<float>(logits),
           logits.dim(1), data<int32_t>(ids), ids.dim(1), ids.size(), first_id, data<float>(picked));
}

}  // namespace espalier::cuda
