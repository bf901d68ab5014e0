#include <omp.h>

#include "kernels/cpu/attention.hpp"
#include "kernels/cpu/attention_blocks.hpp"
#include "kernels/cpu/element.hpp"
#include "kernels/cpu/vector_math.hpp"
#include "kernels/cpu/wide.hpp"

namespace espalier::cpu {
namespace {

/// Queries, and keys, of a block: its ds (2 x 128 x 128 x 4 B in f32) stays in the second-level cache.
constexpr int64_t block = 4 * block_unit;

/// What one query head of one sequence brings along, packed.
template <class T>
struct Inputs {
    BlockPanels<T> q_columns;    // columns: queries
    BlockPanels<T> q;            // depth: queries
    BlockPanels<T> d_o_columns;  // columns: queries
    BlockPanels<T> d_o;          // depth: queries
    BlockRows<T> keys;           // [rows, width]
    BlockRows<T> values;         // [rows, width]
    BlockRows<T> keys_t;         // [width, rows]
    const float* lse;            // [rows]
    const float* delta;          // [rows]: sum over head_dim of d_o * o
    View view;
};

/// Where the head's gradients go, all [rows, width]; dq and dk are without the factor `scale`.
struct Gradients {
    float* dq;
    float* dk;
    float* dv;
};

/// Memory of one thread.
template <class T>
struct BlockMemory {
    float* scores;  // [block_unit, block], as the next three: keys x queries
    float* dp;
    T* p;
    T* ds;
    T* ds_panels;  // columns: queries of a block, depth: its keys
    float* dq_t;   // [width, rows]: dq transposed, rows transposed_stride() apart
    float* total;  // [width]
};

/// p = exp(scale score - lse) and ds = p (dp - delta) of one key and `count` queries.
template <class T>
void softmax_gradient(const float* scores, const float* dp, const float* lse, const float* delta, float scale,
                      int64_t count, T* p, T* ds) {
    wide([&]() ESPALIER_WIDE {
#pragma omp simd
        for (int64_t j = 0; j < count; ++j) {
            const float e = fast_exp_flushed(scale * scores[j] - lse[j]);
            store(p[j], e);
            store(ds[j], e * (dp[j] - delta[j]));
        }
    });
}
/// The same of scores that are capped first, for which ds has their slope 1 - tanh^2.
template <class T>
void capped_softmax_gradient(const float* scores, const float* dp, const float* lse, const float* delta,
                             float scale, float cap, int64_t count, T* p, T* ds) {
    const float inverse = scale / cap;
    wide([&]() ESPALIER_WIDE {
#pragma omp simd
        for (int64_t j = 0; j < count; ++j) {
            const float t = fast_tanh(scores[j] * inverse);
            const float e = fast_exp_flushed(cap * t - lse[j]);
            store(p[j], e);
            store(ds[j], e * (dp[j] - delta[j]) * (1.0f - t * t));
        }
    });
}

/// Adds one block of queries x keys to the gradients. Scores are computed with keys as rows: so p and ds are
/// factors of the gradients of keys and values as they stand, and ds of that of queries after its pairs of
/// rows are joined.
template <class T>
class BackwardBlock {
public:
    BackwardBlock(const AttentionShape& shape, const PaddedHead& head, const BlockMemory<T>& memory)
        : shape_(shape), width_(head.width), q_stride_(head.transposed_stride()), memory_(memory) {}

    /// Begins with the gradients of `queries`.
    void start(Range queries) {
        for (int64_t d = 0; d < width_; ++d) {
            float* const row = memory_.dq_t + d * q_stride_;
            std::fill(row + queries.begin, row + queries.end, 0.0f);
        }
    }

    /// dk and dv = or +=, the gradients of queries are kept.
    void add(Range queries, Range keys, const Inputs<T>& in, const Gradients& out) {
        for (int64_t k = keys.begin; k < keys.end; k += block_unit) {
            const Range seeing = seeing_tile(in.view, k, queries);
            if (seeing.size() == 0) continue;
            softmax_gradients(k, seeing, in);
            keep_panels(k - keys.begin, {seeing.begin - queries.begin, seeing.end - queries.begin});
            const BlockShape shape{block_unit, width_, seeing.size()};
            // The first queries that a key meets are those of its own block.
            const Store store = queries.begin == keys.begin ? Store::overwrite : Store::accumulate;
            product_(store, shape, {memory_.p, block}, in.d_o.from(seeing.begin, 0), out.dv + k * width_,
                     width_);  // dv += p^T d_o
            product_(store, shape, {memory_.ds, block}, in.q.from(seeing.begin, 0), out.dk + k * width_,
                     width_);  // dk += ds^T q
        }
        for (int64_t q = queries.begin; q < queries.end; q += block_unit) {
            const Range seen = seen_by_tile(in.view, q, keys);
            if (seen.size() == 0) continue;
            const BlockPanels<T> ds{memory_.ds_panels, block};
            product_(Store::accumulate, {width_, block_unit, seen.size()},
                     {in.keys_t.data + seen.begin, in.keys_t.stride},
                     ds.from(seen.begin - keys.begin, q - queries.begin), memory_.dq_t + q,
                     q_stride_);  // dq^T += k^T ds^T
        }
    }

    /// dq = what has been added up for `queries`.
    void finish(Range queries, const Gradients& out) const {
        constexpr int64_t bytes = sizeof(float);
        for (int64_t q = queries.begin; q < queries.end; q += square) {
            for (int64_t d = 0; d < width_; d += square) {
                transpose_square(memory_.dq_t + d * q_stride_ + q, q_stride_ * bytes, out.dq + q * width_ + d,
                                 width_ * bytes);
            }
        }
    }

private:
    /// p = exp(scale k q^T - lse) and ds = p (v d_o^T - delta) of block_unit keys; 0 for the queries that do
    /// not see them. Their first column is query seeing.begin.
    void softmax_gradients(int64_t k, Range seeing, const Inputs<T>& in) {
        const BlockShape shape{block_unit, seeing.size(), width_};
        product_(Store::overwrite, shape, {in.keys.data + k * width_, width_},
                 in.q_columns.from(0, seeing.begin), memory_.scores, block);
        product_(Store::overwrite, shape, {in.values.data + k * width_, width_},
                 in.d_o_columns.from(0, seeing.begin), memory_.dp, block);
        for (int64_t r = 0; r < block_unit; ++r) {
            const float* const scores = memory_.scores + r * block;
            const float* const dp = memory_.dp + r * block;
            const float* const lse = in.lse + seeing.begin;
            const float* const delta = in.delta + seeing.begin;
            T* const p = memory_.p + r * block;
            T* const ds = memory_.ds + r * block;
            if (shape_.soft_cap > 0) {
                capped_softmax_gradient(scores, dp, lse, delta, shape_.scale, shape_.soft_cap, seeing.size(),
                                        p, ds);
            } else {
                softmax_gradient(scores, dp, lse, delta, shape_.scale, seeing.size(), p, ds);
            }
            const Range own = seeing_key(in.view, k + r, seeing);
            for (T* const row : {p, ds}) {
                std::fill(row, row + own.begin - seeing.begin, T{});
                std::fill(row + own.end - seeing.begin, row + seeing.size(), T{});
            }
        }
    }

    /// Rows of ds, for `columns` of the block's queries, as rows k to k + block_unit of ds_panels.
    void keep_panels(int64_t k, Range columns) {
        for (int64_t j = columns.begin; j < columns.end; j += panel_columns) {
            T* const panel = memory_.ds_panels + j * block + k * panel_columns;
            for (int64_t r = 0; r < block_unit; r += panel_depth<T>) {
                join_rows(memory_.ds + r * block + j - columns.begin, block, panel + r * panel_columns);
            }
        }
    }

    const AttentionShape& shape_;
    int64_t width_;
    int64_t q_stride_;
    BlockMemory<T> memory_;
    BlockProduct<T> product_;
};

constexpr int64_t factors_of_a_thread = (2 * block_unit + block) * block;
int64_t floats_of_a_thread(const PaddedHead& head) {
    return 2 * block_unit * block + head.transposed_size() + head.width;
}

/// Keys that one unit of work owns.
int64_t chunk_of(const PaddedHead& head) {
    return round_up(std::max<int64_t>(256, div_ceil<int64_t>(head.rows, 4)), block);
}

/// The whole backward pass: pack, work through (sequence, query head, chunk of keys), sum up. Every unit has
/// its own place for its gradients, and the sums run in a fixed order, so threads do not change the result.
template <class T>
class Backward {
public:
    Backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts, const Tensor& o,
             const Tensor& lse, const AttentionShape& shape, Tensor& dqkv)
        : shape_(shape),
          starts_(starts),
          head_(shape),
          chunk_(chunk_of(head_)),
          chunks_(div_ceil(head_.rows, chunk_)),
          qkv_(qkv.data<T>()),
          o_(o.data<T>()),
          d_o_(d_o.data<T>()),
          lse_(lse.data<float>()),
          dqkv_(dqkv.data<T>()) {
        const auto take = [&]<class E>(E*& to, int64_t count, int64_t each) {
            memory_.push_back(ctx.empty({count, each}, dtype_of<E>::value));
            to = memory_.back().template data<E>();
        };
        const int64_t heads = shape.batch * shape.query_heads, kv_heads = shape.batch * shape.kv_heads;
        for (T** const packed : {&q_columns_, &q_, &d_o_columns_, &packed_d_o_}) {
            take(*packed, heads, head_.size());
        }
        for (T** const packed : {&keys_, &values_}) take(*packed, kv_heads, head_.size());
        take(keys_t_, kv_heads, head_.transposed_size());
        take(packed_lse_, heads, head_.rows);
        take(delta_, heads, head_.rows);
        take(dq_, chunks_ * heads, head_.size());
        take(dk_, heads, head_.size());
        take(dv_, heads, head_.size());
        take(floats_, ctx.threads(), floats_of_a_thread(head_));
        take(factors_, ctx.threads(), factors_of_a_thread);
    }

    void run(int threads) {
        const int64_t heads = shape_.batch * shape_.query_heads;
#pragma omp parallel num_threads(threads)
        {
            const BlockMemory<T> memory = memory_of(omp_get_thread_num());
#pragma omp for nowait
            for (int64_t i = 0; i < shape_.batch * shape_.kv_heads; ++i) pack_keys(i);
#pragma omp for
            for (int64_t i = 0; i < heads; ++i) pack_queries(i);
            {
                BackwardBlock<T> worker(shape_, head_, memory);
#pragma omp for schedule(dynamic)
                for (int64_t i = 0; i < chunks_ * heads; ++i) work(worker, i / heads, i % heads);
            }
#pragma omp for
            for (int64_t token = 0; token < shape_.batch * shape_.seq; ++token) sum_up(token, memory.total);
        }
    }

private:
    BlockMemory<T> memory_of(int64_t thread) const {
        constexpr int64_t tile = block_unit * block;
        float* const scores = floats_ + thread * floats_of_a_thread(head_);
        float* const dq_t = scores + 2 * tile;
        T* const p = factors_ + thread * factors_of_a_thread;
        return {scores, scores + tile, p, p + tile, p + 2 * tile, dq_t, dq_t + head_.transposed_size()};
    }

    const T* place(int64_t batch, int64_t h) const {
        return qkv_ + batch * shape_.seq * qkv_width(shape_) + h * shape_.head_dim;
    }

    void pack_keys(int64_t i) {
        const int64_t batch = i / shape_.kv_heads, key = shape_.query_heads + i % shape_.kv_heads;
        const int64_t stride = qkv_width(shape_), hd = shape_.head_dim;
        const T* const k = place(batch, key);
        pack_rows(k, stride, shape_.seq, hd, keys_ + i * head_.size(), head_.rows, head_.width);
        pack_rows(place(batch, key + shape_.kv_heads), stride, shape_.seq, hd, values_ + i * head_.size(),
                  head_.rows, head_.width);
        pack_transposed(k, stride, shape_.seq, hd, keys_t_ + i * head_.transposed_size(), head_.width,
                        head_.transposed_stride());
    }

    void pack_queries(int64_t i) {
        const int64_t batch = i / shape_.query_heads, h = i % shape_.query_heads, hd = shape_.head_dim;
        const int64_t stride = shape_.query_heads * hd, at = batch * shape_.seq * stride + h * hd;
        const auto pack = [&](const T* from, int64_t apart, T* columns, T* panels) {
            pack_rows_as_columns(from, apart, shape_.seq, hd, columns + i * head_.size(), head_.rows,
                                 head_.width);
            pack_panels(from, apart, shape_.seq, hd, panels + i * head_.size(), head_.rows, head_.width);
        };
        pack(place(batch, h), qkv_width(shape_), q_columns_, q_);
        pack(d_o_ + at, stride, d_o_columns_, packed_d_o_);
        pack_rows(lse_ + i * shape_.seq, 0, 1, shape_.seq, packed_lse_ + i * head_.rows, 1, head_.rows);
        float* const delta = delta_ + i * head_.rows;
        std::fill_n(delta, head_.rows, 0.0f);
        for (int64_t s = 0; s < shape_.seq; ++s) {
            const T* const o = o_ + at + s * stride;
            const T* const d_o = d_o_ + at + s * stride;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t d = 0; d < hd; ++d) sum += static_cast<float>(o[d]) * static_cast<float>(d_o[d]);
            delta[s] = sum;
        }
    }

    void work(BackwardBlock<T>& worker, int64_t c, int64_t i) {
        const int64_t heads = shape_.batch * shape_.query_heads, size = head_.size(), width = head_.width;
        const int64_t kv =
            i / shape_.query_heads * shape_.kv_heads + kv_head_of(shape_, i % shape_.query_heads);
        const Range keys{c * chunk_, std::min((c + 1) * chunk_, head_.rows)};
        const Inputs<T> in{{q_columns_ + i * size, width},
                           {q_ + i * size, head_.rows},
                           {d_o_columns_ + i * size, width},
                           {packed_d_o_ + i * size, head_.rows},
                           {keys_ + kv * size, width},
                           {values_ + kv * size, width},
                           {keys_t_ + kv * head_.transposed_size(), head_.transposed_stride()},
                           packed_lse_ + i * head_.rows,
                           delta_ + i * head_.rows,
                           view_of(shape_, starts_, i / shape_.query_heads)};
        const Gradients out{dq_ + (c * heads + i) * size, dk_ + i * size, dv_ + i * size};
        worker.start({keys.begin, head_.rows});
        for (int64_t k = keys.begin; k < keys.end; k += block) {
            const Range some{k, std::min(k + block, keys.end)};
            for (int64_t q = k; q < std::min(shape_.seq, in.view.blind(some.end)); q += block) {
                worker.add({q, std::min(q + block, head_.rows)}, some, in, out);
            }
        }
        worker.finish({keys.begin, head_.rows}, out);
    }

    /// dqkv of one token: dq over the chunks of keys it sees, dk and dv over the query heads of their group.
    /// total [head_dim] is memory of this thread.
    void sum_up(int64_t token, float* total) {
        const int64_t batch = token / shape_.seq, s = token % shape_.seq, hd = shape_.head_dim;
        const int64_t heads = shape_.batch * shape_.query_heads, size = head_.size();
        const int64_t first = batch * shape_.query_heads;
        T* const row = dqkv_ + token * qkv_width(shape_);
        const auto sum = [&](const float* part, int64_t parts, int64_t apart, float factor, T* to) {
            std::fill_n(total, hd, 0.0f);
            for (int64_t i = 0; i < parts; ++i) {
                const float* const from = part + i * apart + s * head_.width;
#pragma omp simd
                for (int64_t d = 0; d < hd; ++d) total[d] += from[d];
            }
#pragma omp simd
            for (int64_t d = 0; d < hd; ++d) store(to[d], factor * total[d]);
        };
        for (int64_t h = 0; h < shape_.query_heads; ++h) {
            sum(dq_ + (first + h) * size, s / chunk_ + 1, heads * size, shape_.scale, row + h * hd);
        }
        for (int64_t g = 0; g < shape_.kv_heads; ++g) {
            const int64_t begin =
                std::clamp<int64_t>(g * shape_.group - shape_.first_in_group, 0, shape_.query_heads);
            const int64_t end = std::clamp<int64_t>((g + 1) * shape_.group - shape_.first_in_group, begin,
                                                    shape_.query_heads);
            T* const key = row + (shape_.query_heads + g) * hd;
            sum(dk_ + (first + begin) * size, end - begin, size, shape_.scale, key);
            sum(dv_ + (first + begin) * size, end - begin, size, 1.0f, key + shape_.kv_heads * hd);
        }
    }

    const AttentionShape& shape_;
    const Tensor& starts_;
    PaddedHead head_;
    int64_t chunk_, chunks_;
    const T* qkv_;
    const T* o_;
    const T* d_o_;
    const float* lse_;
    T* dqkv_;
    std::vector<Tensor> memory_;
    T *q_columns_, *q_, *d_o_columns_, *packed_d_o_, *keys_, *values_, *keys_t_, *factors_;
    float *packed_lse_, *delta_, *dq_, *dk_, *dv_, *floats_;
};

}  // namespace

int64_t attention_backward_bytes(DType dtype, const AttentionShape& shape, int threads) {
    const PaddedHead head(shape);
    const int64_t heads = shape.batch * shape.query_heads, kv_heads = shape.batch * shape.kv_heads;
    const int64_t chunks = div_ceil(head.rows, chunk_of(head));
    const int64_t factors = 4 * heads * head.size() + kv_heads * (2 * head.size() + head.transposed_size()) +
                            threads * factors_of_a_thread;
    const int64_t floats =
        heads * (2 * head.rows + (chunks + 2) * head.size()) + threads * floats_of_a_thread(head);
    return factors * static_cast<int64_t>(size_of(dtype)) + floats * int64_t{sizeof(float)};
}

void attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& o, const Tensor& lse, const AttentionShape& shape, Tensor& dqkv) {
    visit_float(qkv.dtype(), [&]<class T>(T) {
        Backward<T>(ctx, d_o, qkv, starts, o, lse, shape, dqkv).run(ctx.threads());
    });
}

}  // namespace espalier::cpu
