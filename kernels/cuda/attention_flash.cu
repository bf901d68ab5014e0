// Attention in bf16 on the tensor cores, forward. A block has 128 rows of one head, 32 a warp (of heads wider
// than 128, whose sums take the registers, half as many), and goes through the other side 64 rows at a time
// (32 for wide heads), so that scores live in registers alone. Tiles are copied while products are made:
// values beside the scores, the next keys beside softmax and the second product. For heads of 128 it needs 68
// KiB of shared memory and the registers of 2 blocks a multiprocessor; 4 seq^2 head_dim / 2 FLOPs a head
// against 8 seq head_dim bytes leave it bound by the tensor cores from some 1200 tokens on.
#include "kernels/cuda/attention_flash.hpp"

#include "kernels/cuda/attention_flash.cuh"

namespace espalier::cuda::flash {
namespace {

/// Rows of the other side at a time.
template <int D>
constexpr int tile_rows = D > 128 ? 32 : 64;

template <int D>
__global__ __launch_bounds__(threads, 2) void forward(Inputs in, bf16* o, float* lse) {
    constexpr int rows = tile_rows<D>, M = warp_rows<D> / 16, N = rows / 8, R = 2 * M;
    const AttentionShape& s = in.shape;
    bf16* const queries = dynamic_shared<bf16>();
    bf16* const keys = queries + block_rows<D> * (D + gap);
    bf16* const values = keys + rows * (D + gap);
    const int64_t head = blockIdx.x, batch = blockIdx.z;
    const int warp_rows_before = warp_index() * warp_rows<D>;
    const int begin = latest_first() * block_rows<D>, mine = begin + warp_rows_before;
    const int end = static_cast<int>(begin + block_rows<D> < s.seq ? begin + block_rows<D> : s.seq);
    const auto source = in.rows_of<D>(batch, in.key_head(head));
    int k = in.first_tile(batch, begin, rows);
    in.rows_of<D>(batch, head).template load<block_rows<D>>(queries, begin);
    source.template load<rows>(keys, k);
    commit_copies();

    const Sight sight = sight_of<warp_rows<D>>(mine, s.seq, [&](int64_t q) { return in.keys(batch, q); });
    Rows<M, D / 8> sum;
    float max[R], total[R];  // total: of the lane's own columns
    for (int r = 0; r < R; ++r) max[r] = -INFINITY, total[r] = 0;
    for (; k < end; k += rows) {
        wait_for_copies<0>();
        __syncthreads();  // keys are there, values before them read
        source.at(s.kv_heads * s.head_dim).template load<rows>(values, k);
        commit_copies();
        const bool sees = sight.sees(k, rows);
        Rows<M, N> p;
        if (sees) multiply_transposed<D>(p, queries + warp_rows_before * (D + gap), keys);
        wait_for_copies<0>();
        __syncthreads();  // values are there, keys read
        if (k + rows < end) {
            source.template load<rows>(keys, k + rows);
            commit_copies();
        }
        if (!sees) continue;
        const float scale = cap_scores(s, p);
        sight.hide(k, p, [&](int r) { return in.keys(batch, mine + row_of(r)); });
        float largest[R], shift[R];
        for (int r = 0; r < R; ++r) largest[r] = max[r];
        p.each([&](float& score, int r, int, int) { largest[r] = fmaxf(largest[r], score); });
        for (int r = 0; r < R; ++r) {
            largest[r] = reduce_row<Max>(largest[r]);
            shift[r] =
                largest[r] == -INFINITY ? 0.0f : scale * largest[r];  // a row that has seen nothing yet
            const float factor = fast_exp2(scale * max[r] - shift[r]);
            max[r] = largest[r];
            total[r] *= factor;
            for (int j = 0; j < D / 8; ++j) {
                for (int e = 0; e < 2; ++e) sum.part[r / 2][j][2 * (r % 2) + e] *= factor;
            }
        }
        p.each([&](float& score, int r, int, int) {
            score = fast_exp2(scale * score - shift[r]);
            total[r] += score;
        });
        multiply<D>(sum, p, values);
    }
    const float scale = scales_late(s) ? s.scale : 1.0f;
    float inverse[R];
    for (int r = 0; r < R; ++r) {
        const float all = reduce_row<Sum>(total[r]);
        const int q = mine + row_of(r);
        if (lane() % 4 == 0 && q < s.seq) lse[in.at_row(batch, q, head)] = scale * max[r] + log2f(all) * ln_2;
        inverse[r] = 1.0f / all;
    }
    write_rows(sum, inverse, o + in.at_o(batch, mine, head), in.o_stride(), s.seq - mine, in.width());
}

}  // namespace

bool fits(DType dtype, const AttentionShape& shape) {
    return dtype == DType::bf16 && shape.head_dim % 16 == 0 && shape.head_dim <= 256;
}

void attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
               Tensor& lse) {
    const Inputs in{data<bf16>(qkv), data<int32_t>(starts), nullptr, nullptr, nullptr, shape};
    with_width(shape.head_dim, [&]<int D>() {
        launch(forward<D>, grid_of(shape, shape.query_heads, block_rows<D>), threads,
               shared_bytes<D>(block_rows<D> + 2 * tile_rows<D>), ctx.stream(), in, data<bf16>(o),
               data<float>(lse));
    });
}

}  // namespace espalier::cuda::flash
