// Token embedding. Forward moves a row for each token. Backward must add up all occurrences of an id in a
// fixed order without atomics: the blocks of an id's first occurrence, one for each 1024 columns, look
// through the tokens after it and add their rows; 8192 tokens are 32 KiB of ids, which stay in the
// first-level cache while the rows come from memory.
#include "kernels/cuda/embedding.hpp"

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/vocabulary_part.hpp"

namespace espalier::cuda {
namespace {

constexpr int threads = 256;
constexpr int columns = 4;  // of a thread where rows are added up, `threads` apart

template <int N, class T>
__global__ void look_up(const int32_t* ids, const T* table, int64_t vocab, int64_t n, int64_t first_id,
                        T* out) {
    const int64_t row = column_of(ids[blockIdx.x], first_id, vocab);
    for (int64_t j = threadIdx.x * N; j < n; j += threads * N) {
        float values[N] = {};
        if (row >= 0) load<N>(table + row * n + j, values);
        store<N>(out + blockIdx.x * n + j, values);
    }
}

template <class T>
__global__ void add_rows(const T* dout, const int32_t* ids, int64_t tokens, int64_t vocab, int64_t n,
                         int64_t first_id, float* dtable) {
    const int64_t me = blockIdx.x;
    const int32_t id = ids[me];
    const int64_t row = column_of(id, first_id, vocab);
    if (row < 0) return;
    int earlier = 0;
    for (int64_t i = threadIdx.x; i < me; i += threads) earlier |= ids[i] == id;
    if (reduce_block<Max, threads>(earlier) != 0) return;

    __shared__ unsigned matches[threads / warp];  // of the next `threads` tokens, a bit each
    const int64_t first = int64_t{blockIdx.y} * threads * columns + threadIdx.x;
    float sum[columns] = {};
    for (int64_t begin = me; begin < tokens; begin += threads) {
        const int64_t i = begin + threadIdx.x;
        const unsigned found = __ballot_sync(whole_warp, i < tokens && ids[i] == id);
        if (threadIdx.x % warp == 0) matches[threadIdx.x / warp] = found;
        __syncthreads();
        for (int w = 0; w < threads / warp; ++w) {
            for (unsigned left = matches[w]; left != 0; left &= left - 1) {
                const int64_t token = begin + w * warp + __ffs(static_cast<int>(left)) - 1;
                for (int c = 0; c < columns; ++c) {
                    const int64_t j = first + c * threads;
                    if (j < n) sum[c] += to_float(dout[token * n + j]);
                }
            }
        }
        __syncthreads();
    }
    for (int c = 0; c < columns; ++c) {
        const int64_t j = first + c * threads;
        if (j < n) dtable[row * n + j] += sum[c];
    }
}

}  // namespace

void embed(Context& ctx, const Tensor& ids, const Tensor& table, int64_t first_id, Tensor& out) {
    visit_elements(table.dtype(), [&]<class T>(T) {
        const bool wide = table.dim(1) % pack == 0 && aligned(table.raw(), out.raw());
        with_pack(wide, [&]<int N>() {
            launch(look_up<N, T>, narrow<unsigned>(ids.size()), threads, 0, ctx.stream(), data<int32_t>(ids),
                   data<T>(table), table.dim(0), table.dim(1), first_id, data<T>(out));
        });
    });
}

void embed_backward(Context& ctx, const Tensor& dout, const Tensor& ids, int64_t first_id, Tensor& dtable) {
    visit_elements(dout.dtype(), [&]<class T>(T) {
        const dim3 grid(narrow<unsigned>(ids.size()), blocks_for(dtable.dim(1), threads * columns));
        launch(add_rows<T>, grid, threads, 0, ctx.stream(), data<T>(dout), data<int32_t>(ids), ids.size(),
               dtable.dim(0), dtable.dim(1), first_id, data<float>(dtable));
    });
}

}  // namespace espalier::cuda
