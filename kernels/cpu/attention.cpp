#include "kernels/cpu/attention.hpp"

#include <omp.h>

#include <cmath>
#include <limits>

#include "kernels/cpu/attention_blocks.hpp"
#include "kernels/cpu/element.hpp"
#include "kernels/cpu/lanes.hpp"
#include "kernels/cpu/vector_math.hpp"
#include "kernels/cpu/wide.hpp"

namespace espalier::cpu {
namespace {

constexpr int64_t query_block = 2 * block_unit;
/// Keys and values of a block (2 x 192 x 64 x 4 B = 96 KiB) stay in the second-level cache over a query
/// block.
constexpr int64_t key_block = 6 * block_unit;
constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// Softmax of a row of scores seen so far (Milakov and Gimelshein 2018). The maximum is always finite,
/// because a row may see nothing of a block.
struct Running {
    float max = std::numeric_limits<float>::lowest();
    float sum = 0;
};

/// p [0, count) = exp(factor s - max) inside `seen`, 0 elsewhere; factor > 0. Returns what earlier sums are
/// to be multiplied by.
template <class T>
float extend(Running& running, float* s, float factor, Range seen, int64_t count, T* p) {
    std::fill(s, s + seen.begin, minus_infinity);
    std::fill(s + seen.end, s + count, minus_infinity);
    return wide([&]() ESPALIER_WIDE {
        Lanes max_of(running.max), sum_of(0);
        in_lanes(count, [&](int64_t j, int64_t lane) ESPALIER_WIDE {
            const float x = factor * s[j];
            max_of[lane] = x > max_of[lane] ? x : max_of[lane];
        });
        const float max = max_of.max();
        in_lanes(count, [&](int64_t j, int64_t lane) ESPALIER_WIDE {
            const float e = fast_exp_flushed(factor * s[j] - max);
            sum_of[lane] += e;
            store(p[j], e);
        });
        const float decay = fast_exp_flushed(running.max - max);
        running = {max, running.sum * decay + sum_of.sum()};
        return decay;
    });
}

/// s = cap tanh(scale s / cap).
void soft_cap(float* s, int64_t count, float scale, float cap) {
    const float inverse = scale / cap;
    wide([&]() ESPALIER_WIDE {
#pragma omp simd
        for (int64_t j = 0; j < count; ++j) s[j] = cap * fast_tanh(s[j] * inverse);
    });
}

/// The keys and values of one KV head, packed.
template <class T>
struct PackedKeys {
    BlockPanels<T> keys;    // columns: keys
    BlockPanels<T> values;  // depth: keys
};

/// Memory of one thread.
template <class T>
struct QueryMemory {
    T* q;           // [query_block, width]
    float* sum;     // [query_block, width]: sum of exp(score - max) value
    float* scores;  // [block_unit, key_block]
    T* p;           // [block_unit, key_block]
};

/// One block of queries of one head.
template <class T>
class QueryBlock {
public:
    QueryBlock(const AttentionShape& shape, const PaddedHead& head, const QueryMemory<T>& memory)
        : shape_(shape), head_(head), memory_(memory) {}

    /// Queries [begin, begin + count) of a sequence; rows of qkv are `stride` apart, q is row `begin` of the
    /// head.
    void start(const View& view, const T* q, int64_t stride, int64_t begin, int64_t count) {
        view_ = view;
        begin_ = begin;
        count_ = count;
        pack_rows(q, stride, count, shape_.head_dim, memory_.q, query_block, head_.width);
        std::fill_n(memory_.sum, query_block * head_.width, 0.0f);
        std::fill_n(running_, query_block, Running{});
    }

    void attend(const PackedKeys<T>& packed) {
        const int64_t first = seen_by_tile(view_, begin_, {0, head_.rows}).begin;
        for (int64_t k = first; k < begin_ + count_; k += key_block) {
            for (int64_t i = 0; i < count_; i += block_unit) {
                const Range keys = seen_by_tile(view_, begin_ + i, {k, std::min(k + key_block, head_.rows)});
                if (keys.size() > 0) attend_tile(i, keys, packed);
            }
        }
    }

    void finish(T* o, int64_t stride, float* lse) const {
        for (int64_t i = 0; i < count_; ++i) {
            const float* const sum = memory_.sum + i * head_.width;
            const float inverse = 1.0f / running_[i].sum;
#pragma omp simd
            for (int64_t d = 0; d < shape_.head_dim; ++d) store(o[i * stride + d], sum[d] * inverse);
            lse[i] = running_[i].max + std::log(running_[i].sum);
        }
    }

private:
    void attend_tile(int64_t i, Range keys, const PackedKeys<T>& packed) {
        const auto [q, sum, scores, p] = memory_;
        const int64_t width = head_.width, count = keys.size();
        product_(Store::overwrite, {block_unit, count, width}, {q + i * width, width},
                 packed.keys.from(0, keys.begin), scores, key_block);
        for (int64_t r = 0; r < block_unit; ++r) {
            float* const row = scores + r * key_block;
            float factor = shape_.scale;
            if (shape_.soft_cap > 0) {
                soft_cap(row, count, shape_.scale, shape_.soft_cap);
                factor = 1.0f;
            }
            const Range seen = seen_by(view_, begin_ + i + r, keys);
            const float decay =
                extend(running_[i + r], row, factor, {seen.begin - keys.begin, seen.end - keys.begin}, count,
                       p + r * key_block);
            float* const total = sum + (i + r) * width;
#pragma omp simd
            for (int64_t d = 0; d < width; ++d) total[d] *= decay;
        }
        product_(Store::accumulate, {block_unit, width, count}, {p, key_block},
                 packed.values.from(keys.begin, 0), sum + i * width, width);
    }

    const AttentionShape& shape_;
    const PaddedHead& head_;
    QueryMemory<T> memory_;
    BlockProduct<T> product_;
    View view_{};
    int64_t begin_ = 0;
    int64_t count_ = 0;
    Running running_[query_block];
};

template <class T>
void forward(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
             Tensor& lse) {
    const PaddedHead head(shape);
    const int64_t hd = shape.head_dim, seq = shape.seq, stride = qkv_width(shape);
    const int64_t blocks = div_ceil(seq, query_block), heads = shape.batch * shape.query_heads;
    const int64_t kv_heads = shape.batch * shape.kv_heads, threads = ctx.threads();
    const Tensor keys = ctx.empty({kv_heads, head.size()}, qkv.dtype());
    const Tensor values = ctx.empty({kv_heads, head.size()}, qkv.dtype());
    const Tensor q = ctx.empty({threads, query_block * head.width}, qkv.dtype());
    const Tensor sum = ctx.empty({threads, query_block * head.width}, DType::f32);
    const Tensor scores = ctx.empty({threads, block_unit * key_block}, DType::f32);
    const Tensor p = ctx.empty({threads, block_unit * key_block}, qkv.dtype());
    const auto place = [&](int64_t batch, int64_t row, int64_t h) {
        return qkv.data<T>() + (batch * seq + row) * stride + h * hd;
    };

#pragma omp parallel num_threads(ctx.threads())
    {
#pragma omp for
        for (int64_t i = 0; i < kv_heads; ++i) {
            const int64_t batch = i / shape.kv_heads, key = shape.query_heads + i % shape.kv_heads;
            pack_rows_as_columns(place(batch, 0, key), stride, seq, hd, keys.data<T>() + i * head.size(),
                                 head.rows, head.width);
            pack_panels(place(batch, 0, key + shape.kv_heads), stride, seq, hd,
                        values.data<T>() + i * head.size(), head.rows, head.width);
        }
        const auto mine = [&]<class E>(const Tensor& memory, E) {
            return memory.data<E>() + omp_get_thread_num() * memory.dim(1);
        };
        QueryBlock<T> block(shape, head, {mine(q, T{}), mine(sum, 0.0f), mine(scores, 0.0f), mine(p, T{})});
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < blocks * heads; ++i) {
            const int64_t begin = (blocks - 1 - i / heads) * query_block;  // the longest first
            const int64_t batch = i % heads / shape.query_heads, h = i % shape.query_heads;
            const int64_t kv = batch * shape.kv_heads + kv_head_of(shape, h);
            block.start(view_of(shape, starts, batch), place(batch, begin, h), stride, begin,
                        std::min(query_block, seq - begin));
            block.attend({{keys.data<T>() + kv * head.size(), head.width},
                          {values.data<T>() + kv * head.size(), head.rows}});
            const int64_t o_width = shape.query_heads * hd;
            block.finish(o.data<T>() + (batch * seq + begin) * o_width + h * hd, o_width,
                         lse.data<float>() + (batch * shape.query_heads + h) * seq + begin);
        }
    }
}

}  // namespace

int64_t attention_bytes(DType dtype, const AttentionShape& shape, int threads) {
    const PaddedHead head(shape);
    const auto element = static_cast<int64_t>(size_of(dtype)), number = int64_t{sizeof(float)};
    return 2 * shape.batch * shape.kv_heads * head.size() * element +
           threads * (query_block * head.width + block_unit * key_block) * (element + number);
}

void attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
               Tensor& lse) {
    visit_float(qkv.dtype(), [&]<class T>(T) { forward<T>(ctx, qkv, starts, shape, o, lse); });
}

}  // namespace espalier::cpu
