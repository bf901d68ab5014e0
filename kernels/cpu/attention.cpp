#include "kernels/cpu/attention.hpp"

#include <omp.h>

#include <cmath>
#include <limits>

#include "kernels/cpu/attention_blocks.hpp"
#include "kernels/cpu/element.hpp"
#include "kernels/cpu/vector_math.hpp"

namespace espalier::cpu {
namespace {

constexpr int64_t query_block = 8 * tile_rows;
/// Keys and values of a block (2 x 192 x 64 x 4 B = 96 KiB) stay in the second-level cache over a query
/// block.
constexpr int64_t key_block = 12 * tile_columns;
constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// Softmax of a row of scores seen so far (Milakov and Gimelshein 2018). The maximum is always finite,
/// because a row may see nothing of a block.
struct Running {
    float max = std::numeric_limits<float>::lowest();
    float sum = 0;
};

/// s [0, count) = exp(s - max) inside `seen`, 0 elsewhere. Returns what earlier sums are to be multiplied by.
/// Not inlined: GCC 12 then duplicates the loops and leaves one copy scalar.
[[gnu::noinline]] float extend(Running& running, float* s, Range seen, int64_t count) {
    std::fill(s, s + seen.begin, minus_infinity);
    std::fill(s + seen.end, s + count, minus_infinity);
    float max = running.max;
#pragma omp simd reduction(max : max)
    for (int64_t j = 0; j < count; ++j) max = s[j] > max ? s[j] : max;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < count; ++j) {
        s[j] = fast_exp(s[j] - max);
        sum += s[j];
    }
    const float factor = fast_exp(running.max - max);
    running = {max, running.sum * factor + sum};
    return factor;
}

/// s = cap tanh(s / cap).
[[gnu::noinline]] void soft_cap(float* s, int64_t count, float cap) {
    const float inverse = 1.0f / cap;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) s[j] = cap * fast_tanh(s[j] * inverse);
}

/// One block of queries of one head, in one thread's own memory.
class QueryBlock {
public:
    static int64_t floats(const PaddedHead& head) {
        return 2 * query_block * head.width + tile_rows * key_block;
    }
    QueryBlock(const AttentionShape& shape, const PaddedHead& head, float* memory)
        : shape_(shape),
          head_(head),
          q_(memory),
          sum_(q_ + query_block * head.width),
          scores_(sum_ + query_block * head.width) {}

    /// Queries [begin, begin + count) of a sequence; rows of qkv are `stride` apart, q is row `begin` of the
    /// head.
    template <class T>
    void start(const View& view, const T* q, int64_t stride, int64_t begin, int64_t count) {
        view_ = view;
        begin_ = begin;
        count_ = count;
        pack_rows(q, stride, count, shape_.head_dim, shape_.scale, q_, query_block, head_.width);
        std::fill_n(sum_, query_block * head_.width, 0.0f);
        std::fill_n(running_, query_block, Running{});
    }

    /// keys_t and values are those of the whole head, as packed.
    void attend(const float* keys_t, const float* values) {
        const int64_t first = seen_by_tile(view_, begin_, {0, shape_.seq}).begin;
        for (int64_t k = first; k < begin_ + count_; k += key_block) {
            for (int64_t i = 0; i < count_; i += tile_rows) {
                const Range keys = seen_by_tile(view_, begin_ + i, {k, k + key_block});
                if (keys.size() > 0) attend_tile(i, keys, keys_t, values);
            }
        }
    }

    template <class T>
    void finish(T* o, int64_t stride, float* lse) const {
        for (int64_t i = 0; i < count_; ++i) {
            const float* const sum = sum_ + i * head_.width;
            const float inverse = 1.0f / running_[i].sum;
#pragma omp simd
            for (int64_t d = 0; d < shape_.head_dim; ++d) store(o[i * stride + d], sum[d] * inverse);
            lse[i] = running_[i].max + std::log(running_[i].sum);
        }
    }

private:
    void attend_tile(int64_t i, Range keys, const float* keys_t, const float* values) {
        const int64_t count = round_up(keys.size(), tile_columns);
        for (int64_t j = 0; j < count; j += tile_columns) {
            const float* const panel = keys_t + (keys.begin + j) * shape_.head_dim;
            multiply_tile<Store::overwrite>({q_ + i * head_.width, head_.width}, {panel, tile_columns},
                                            shape_.head_dim, scores_ + j, key_block);
        }
        for (int64_t r = 0; r < tile_rows; ++r) {
            const Range seen = seen_by(view_, begin_ + i + r, keys);
            if (shape_.soft_cap > 0) soft_cap(scores_ + r * key_block, count, shape_.soft_cap);
            const float factor = extend(running_[i + r], scores_ + r * key_block,
                                        {seen.begin - keys.begin, seen.end - keys.begin}, count);
            float* const sum = sum_ + (i + r) * head_.width;
#pragma omp simd
            for (int64_t d = 0; d < head_.width; ++d) sum[d] *= factor;
        }
        for (int64_t d = 0; d < head_.width; d += tile_columns) {
            multiply_tile<Store::accumulate>({scores_, key_block},
                                             {values + keys.begin * head_.width + d, head_.width},
                                             keys.size(), sum_ + i * head_.width + d, head_.width);
        }
    }

    const AttentionShape& shape_;
    const PaddedHead& head_;
    View view_{};
    int64_t begin_ = 0;
    int64_t count_ = 0;
    float* q_;       // [query_block, width], scaled
    float* sum_;     // [query_block, width]: sum of exp(score - max) value
    float* scores_;  // [tile_rows, key_block]
    Running running_[query_block];
};

template <class T>
void forward(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
             Tensor& lse) {
    const PaddedHead head(shape);
    const int64_t hd = shape.head_dim, seq = shape.seq, stride = qkv_width(shape);
    const int64_t blocks = div_ceil(seq, query_block), heads = shape.batch * shape.query_heads;
    const int64_t kv_heads = shape.batch * shape.kv_heads;
    const Tensor keys_t = ctx.empty({kv_heads, head.rows * hd}, DType::f32);
    const Tensor values = ctx.empty({kv_heads, head.size()}, DType::f32);
    const Tensor memory = ctx.empty({ctx.threads(), QueryBlock::floats(head)}, DType::f32);
    const auto place = [&](int64_t batch, int64_t row, int64_t h) {
        return qkv.data<T>() + (batch * seq + row) * stride + h * hd;
    };

#pragma omp parallel num_threads(ctx.threads())
    {
#pragma omp for
        for (int64_t i = 0; i < kv_heads; ++i) {
            const int64_t batch = i / shape.kv_heads, key = shape.query_heads + i % shape.kv_heads;
            pack_transposed(place(batch, 0, key), stride, seq, hd, keys_t.data<float>() + i * head.rows * hd,
                            head.rows);
            pack_rows(place(batch, 0, key + shape.kv_heads), stride, seq, hd, 1.0f,
                      values.data<float>() + i * head.size(), head.rows, head.width);
        }
        QueryBlock block(shape, head, memory.data<float>() + omp_get_thread_num() * memory.dim(1));
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < blocks * heads; ++i) {
            const int64_t begin = (blocks - 1 - i / heads) * query_block;  // the longest first
            const int64_t batch = i % heads / shape.query_heads, h = i % shape.query_heads;
            const int64_t kv = batch * shape.kv_heads + kv_head_of(shape, h);
            block.start(view_of(shape, starts, batch), place(batch, begin, h), stride, begin,
                        std::min(query_block, seq - begin));
            block.attend(keys_t.data<float>() + kv * head.rows * hd, values.data<float>() + kv * head.size());
            const int64_t o_width = shape.query_heads * hd;
            block.finish(o.data<T>() + (batch * seq + begin) * o_width + h * hd, o_width,
                         lse.data<float>() + (batch * shape.query_heads + h) * seq + begin);
        }
    }
}

}  // namespace

void attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
               Tensor& lse) {
    visit_float(qkv.dtype(), [&]<class T>(T) { forward<T>(ctx, qkv, starts, shape, o, lse); });
}

}  // namespace espalier::cpu
