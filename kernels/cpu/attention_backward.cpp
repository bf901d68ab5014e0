#include <omp.h>

#include "kernels/cpu/attention.hpp"
#include "kernels/cpu/attention_blocks.hpp"
#include "kernels/cpu/element.hpp"
#include "kernels/cpu/vector_math.hpp"

namespace espalier::cpu {
namespace {

constexpr int64_t block = 6 * tile_columns;  // queries and keys; a multiple of tile_rows too

/// What one query head of one sequence brings along, packed; rows and width are those of PaddedHead.
struct Inputs {
    const float* q;         // [rows, width], scaled
    const float* d_o;       // [rows, width]
    const float* lse;       // [rows]
    const float* delta;     // [rows]: sum over head_dim of d_o * o
    const float* keys;      // [rows, width]
    const float* keys_t;    // panels of pack_transposed
    const float* values_t;  // panels of pack_transposed
    View view;
};

/// Where the head's gradients go, all [rows, width]; dq is without the factor `scale`.
struct Gradients {
    float* dq;
    float* dk;
    float* dv;
};

/// p = exp(score - lse) and ds = p (dp - delta), where p holds the scores and ds the dp of one query.
void softmax_gradient(float* p, float* ds, int64_t count, float lse, float delta) {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
        p[j] = fast_exp(p[j] - lse);
        ds[j] = p[j] * (ds[j] - delta);
    }
}
/// The same of scores that are capped first, for which ds has their slope 1 - tanh^2.
void capped_softmax_gradient(float* p, float* ds, int64_t count, float lse, float delta, float cap) {
    const float inverse = 1.0f / cap;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
        const float t = fast_tanh(p[j] * inverse);
        p[j] = fast_exp(cap * t - lse);
        ds[j] = p[j] * (ds[j] - delta) * (1.0f - t * t);
    }
}

/// Adds one block of queries x keys to the gradients; p and ds are [block, block] memory of this thread.
class BackwardBlock {
public:
    static constexpr int64_t floats = 2 * block * block;
    BackwardBlock(const AttentionShape& shape, const PaddedHead& head, float* memory)
        : shape_(shape), width_(head.width), p_(memory), ds_(memory + block * block) {}

    void add(Range queries, Range keys, const Inputs& in, const Gradients& out) {
        for (int64_t q = queries.begin; q < queries.end; q += tile_rows) {
            const Range seen = seen_by_tile(in.view, q, keys);
            probabilities(q, queries, keys, seen, in);
            for (int64_t d = 0; seen.size() > 0 && d < width_; d += tile_columns) {  // dq += ds k
                const float* const ds = ds_ + (q - queries.begin) * block + seen.begin - keys.begin;
                multiply_tile<Store::accumulate>({ds, block}, {in.keys + seen.begin * width_ + d, width_},
                                                 seen.size(), out.dq + q * width_ + d, width_);
            }
        }
        for (int64_t k = keys.begin; k < keys.end; k += tile_rows) {
            const int64_t first = std::max(queries.begin, k);  // the first query that sees key k
            const int64_t at = (first - queries.begin) * block + k - keys.begin;
            const int64_t depth = queries.end - first;
            for (int64_t d = 0; depth > 0 && d < width_; d += tile_columns) {
                const int64_t from = first * width_ + d, to = k * width_ + d;
                multiply_tile<Store::accumulate>({p_ + at, 1, block}, {in.d_o + from, width_}, depth,
                                                 out.dv + to, width_);  // dv += p^T d_o
                multiply_tile<Store::accumulate>({ds_ + at, 1, block}, {in.q + from, width_}, depth,
                                                 out.dk + to, width_);  // dk += ds^T q
            }
        }
    }

private:
    /// p = exp(q k^T - lse) and ds = p (d_o v^T - delta) of tile_rows queries; 0 for the keys that they do
    /// not see.
    void probabilities(int64_t q, Range queries, Range keys, Range seen, const Inputs& in) {
        const int64_t first = (q - queries.begin) * block + seen.begin - keys.begin;
        const int64_t count = round_up(seen.size(), tile_columns), hd = shape_.head_dim;
        for (int64_t j = 0; j < count; j += tile_columns) {
            const int64_t panel = (seen.begin + j) * hd;
            multiply_tile<Store::overwrite>({in.q + q * width_, width_}, {in.keys_t + panel, tile_columns},
                                            hd, p_ + first + j, block);
            multiply_tile<Store::overwrite>({in.d_o + q * width_, width_},
                                            {in.values_t + panel, tile_columns}, hd, ds_ + first + j, block);
        }
        for (int64_t r = 0; r < tile_rows; ++r) {
            float* const p = p_ + first + r * block;
            float* const ds = ds_ + first + r * block;
            const float lse = in.lse[q + r], delta = in.delta[q + r];
            if (shape_.soft_cap > 0) {
                capped_softmax_gradient(p, ds, count, lse, delta, shape_.soft_cap);
            } else {
                softmax_gradient(p, ds, count, lse, delta);
            }
            const Range own = seen_by(in.view, q + r, keys);
            for (float* const row : {p_, ds_}) {
                float* const begin = row + (q - queries.begin + r) * block;
                std::fill(begin, begin + own.begin - keys.begin, 0.0f);
                std::fill(begin + own.end - keys.begin, begin + keys.size(), 0.0f);
            }
        }
    }

    const AttentionShape& shape_;
    int64_t width_;
    float* p_;
    float* ds_;
};

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
          chunk_(round_up(std::max<int64_t>(256, div_ceil<int64_t>(head_.rows, 4)), block)),
          chunks_(div_ceil(head_.rows, chunk_)),
          qkv_(qkv.data<T>()),
          o_(o.data<T>()),
          d_o_(d_o.data<T>()),
          lse_(lse.data<float>()),
          dqkv_(dqkv.data<T>()) {
        const auto floats = [&](int64_t heads, int64_t each) {
            memory_.push_back(ctx.empty({heads, each}, DType::f32));
            return memory_.back().template data<float>();
        };
        const int64_t heads = shape.batch * shape.query_heads, kv_heads = shape.batch * shape.kv_heads;
        q_ = floats(heads, head_.size());
        packed_d_o_ = floats(heads, head_.size());
        packed_lse_ = floats(heads, head_.rows);
        delta_ = floats(heads, head_.rows);
        keys_ = floats(kv_heads, head_.size());
        keys_t_ = floats(kv_heads, head_.rows * shape.head_dim);
        values_t_ = floats(kv_heads, head_.rows * shape.head_dim);
        dq_ = floats(chunks_ * heads, head_.size());
        dk_ = floats(heads, head_.size());
        dv_ = floats(heads, head_.size());
        scratch_ = floats(ctx.threads(), BackwardBlock::floats + head_.width);
    }

    void run(int threads) {
        const int64_t heads = shape_.batch * shape_.query_heads;
#pragma omp parallel num_threads(threads)
        {
            float* const total = scratch_ + omp_get_thread_num() * (BackwardBlock::floats + head_.width);
            BackwardBlock worker(shape_, head_, total + head_.width);
#pragma omp for nowait
            for (int64_t i = 0; i < shape_.batch * shape_.kv_heads; ++i) pack_keys(i);
#pragma omp for
            for (int64_t i = 0; i < heads; ++i) pack_queries(i);
#pragma omp for schedule(dynamic)
            for (int64_t i = 0; i < chunks_ * heads; ++i) work(worker, i / heads, i % heads);
#pragma omp for
            for (int64_t token = 0; token < shape_.batch * shape_.seq; ++token) sum_up(token, total);
        }
    }

private:
    const T* place(int64_t batch, int64_t h) const {
        return qkv_ + batch * shape_.seq * qkv_width(shape_) + h * shape_.head_dim;
    }

    void pack_keys(int64_t i) {
        const int64_t batch = i / shape_.kv_heads, key = shape_.query_heads + i % shape_.kv_heads;
        const int64_t stride = qkv_width(shape_), hd = shape_.head_dim;
        const T* const k = place(batch, key);
        pack_rows(k, stride, shape_.seq, hd, 1.0f, keys_ + i * head_.size(), head_.rows, head_.width);
        pack_transposed(k, stride, shape_.seq, hd, keys_t_ + i * head_.rows * hd, head_.rows);
        pack_transposed(place(batch, key + shape_.kv_heads), stride, shape_.seq, hd,
                        values_t_ + i * head_.rows * hd, head_.rows);
    }

    void pack_queries(int64_t i) {
        const int64_t batch = i / shape_.query_heads, h = i % shape_.query_heads, hd = shape_.head_dim;
        const int64_t stride = shape_.query_heads * hd, at = batch * shape_.seq * stride + h * hd;
        pack_rows(place(batch, h), qkv_width(shape_), shape_.seq, hd, shape_.scale, q_ + i * head_.size(),
                  head_.rows, head_.width);
        pack_rows(d_o_ + at, stride, shape_.seq, hd, 1.0f, packed_d_o_ + i * head_.size(), head_.rows,
                  head_.width);
        pack_rows(lse_ + i * shape_.seq, 0, 1, shape_.seq, 1.0f, packed_lse_ + i * head_.rows, 1, head_.rows);
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

    void work(BackwardBlock& worker, int64_t c, int64_t i) {
        const int64_t heads = shape_.batch * shape_.query_heads, size = head_.size(), width = head_.width;
        const int64_t kv =
            i / shape_.query_heads * shape_.kv_heads + kv_head_of(shape_, i % shape_.query_heads);
        const Range keys{c * chunk_, std::min((c + 1) * chunk_, head_.rows)};
        const Inputs in{q_ + i * size,
                        packed_d_o_ + i * size,
                        packed_lse_ + i * head_.rows,
                        delta_ + i * head_.rows,
                        keys_ + kv * size,
                        keys_t_ + kv * head_.rows * shape_.head_dim,
                        values_t_ + kv * head_.rows * shape_.head_dim,
                        view_of(shape_, starts_, i / shape_.query_heads)};
        const Gradients out{dq_ + (c * heads + i) * size, dk_ + i * size, dv_ + i * size};
        std::fill(out.dq + keys.begin * width, out.dq + size, 0.0f);
        std::fill(out.dk + keys.begin * width, out.dk + keys.end * width, 0.0f);
        std::fill(out.dv + keys.begin * width, out.dv + keys.end * width, 0.0f);
        for (int64_t k = keys.begin; k < keys.end; k += block) {
            const Range some{k, std::min(k + block, keys.end)};
            for (int64_t q = k; q < std::min(shape_.seq, in.view.blind(some.end)); q += block) {
                worker.add({q, std::min(q + block, shape_.seq)}, some, in, out);
            }
        }
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
            sum(dk_ + (first + begin) * size, end - begin, size, 1.0f, key);
            sum(dv_ + (first + begin) * size, end - begin, size, 1.0f, key + shape_.kv_heads * hd);
        }
    }

    const AttentionShape& shape_;
    const Tensor& starts_;
    PaddedHead head_;
    int64_t chunk_;  // keys that one unit of work owns
    int64_t chunks_;
    const T* qkv_;
    const T* o_;
    const T* d_o_;
    const float* lse_;
    T* dqkv_;
    std::vector<Tensor> memory_;
    float *q_, *packed_d_o_, *packed_lse_, *delta_, *keys_, *keys_t_, *values_t_, *dq_, *dk_, *dv_, *scratch_;
};

}  // namespace

void attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& o, const Tensor& lse, const AttentionShape& shape, Tensor& dqkv) {
    visit_float(qkv.dtype(), [&]<class T>(T) {
        Backward<T>(ctx, d_o, qkv, starts, o, lse, shape, dqkv).run(ctx.threads());
    });
}

}  // namespace espalier::cpu
