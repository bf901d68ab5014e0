#include "kernels/reference/attention.hpp"

#include <algorithm>
#include <cmath>

namespace espalier::reference {
namespace {

bool visible(const AttentionShape& shape, int64_t q, int64_t k) {
    return k <= q && (shape.window == 0 || q - k < shape.window);
}

/// soft_cap tanh(score / soft_cap), and its derivative at the score.
double capped(const AttentionShape& shape, double score) {
    const double cap = shape.soft_cap;
    return cap == 0 ? score : cap * std::tanh(score / cap);
}
double slope(const AttentionShape& shape, double score) {
    if (shape.soft_cap == 0) return 1;
    const double t = std::tanh(score / double{shape.soft_cap});
    return 1 - t * t;
}

/// Where a head's row begins in qkv; heads count through queries, keys and values.
int64_t place(const AttentionShape& shape, int64_t batch, int64_t token, int64_t head) {
    const int64_t heads = shape.query_heads + 2 * shape.kv_heads;
    return ((batch * shape.seq + token) * heads + head) * shape.head_dim;
}

double dot(const double* a, const double* b, int64_t n) {
    double sum = 0;
    for (int64_t d = 0; d < n; ++d) sum += a[d] * b[d];
    return sum;
}

/// p [seq, seq] and lse [seq] of one head.
void probabilities(const std::vector<double>& qkv, const AttentionShape& shape,
                   const std::vector<int32_t>& starts, int64_t batch, int64_t head, std::vector<double>& p,
                   double* lse) {
    const int64_t seq = shape.seq, hd = shape.head_dim;
    const int64_t key_head = shape.query_heads + (shape.first_in_group + head) / shape.group;
    p.assign(static_cast<size_t>(seq * seq), 0.0);
    for (int64_t q = 0; q < seq; ++q) {
        const double* const query = &qkv[place(shape, batch, q, head)];
        const auto score = [&](int64_t k) {
            return capped(shape, shape.scale * dot(query, &qkv[place(shape, batch, k, key_head)], hd));
        };
        const auto seen = [&](int64_t k) {
            return visible(shape, q, k) && (starts.empty() || k >= starts[batch * seq + q]);
        };
        double max = score(q), sum = 0;
        for (int64_t k = 0; k < seq; ++k) {
            if (seen(k)) max = std::max(max, score(k));
        }
        for (int64_t k = 0; k < seq; ++k) {
            if (seen(k)) sum += p[q * seq + k] = std::exp(score(k) - max);
        }
        for (int64_t k = 0; k < seq; ++k) p[q * seq + k] /= sum;
        lse[q] = max + std::log(sum);
    }
}

}  // namespace

AttentionResult attention(const std::vector<double>& qkv, const AttentionShape& shape,
                          const std::vector<int32_t>& starts) {
    const int64_t seq = shape.seq, hd = shape.head_dim, heads = shape.query_heads;
    AttentionResult result;
    result.o.assign(static_cast<size_t>(shape.batch * seq * heads * hd), 0.0);
    result.lse.assign(static_cast<size_t>(shape.batch * heads * seq), 0.0);
    std::vector<double> p;
    for (int64_t b = 0; b < shape.batch; ++b) {
        for (int64_t h = 0; h < heads && seq > 0; ++h) {
            probabilities(qkv, shape, starts, b, h, p, &result.lse[(b * heads + h) * seq]);
            const int64_t value_head = heads + shape.kv_heads + (shape.first_in_group + h) / shape.group;
            for (int64_t q = 0; q < seq; ++q) {
                double* const o = &result.o[((b * seq + q) * heads + h) * hd];
                for (int64_t k = 0; k < seq; ++k) {
                    const double* const value = &qkv[place(shape, b, k, value_head)];
                    for (int64_t d = 0; d < hd; ++d) o[d] += p[q * seq + k] * value[d];
                }
            }
        }
    }
    return result;
}

std::vector<double> attention_backward(const std::vector<double>& d_o, const std::vector<double>& qkv,
                                       const std::vector<double>& o, const AttentionShape& shape,
                                       const std::vector<int32_t>& starts) {
    const int64_t seq = shape.seq, hd = shape.head_dim, heads = shape.query_heads;
    std::vector<double> dqkv(qkv.size(), 0.0), p, lse(static_cast<size_t>(seq));
    for (int64_t b = 0; b < shape.batch; ++b) {
        for (int64_t h = 0; h < heads && seq > 0; ++h) {
            probabilities(qkv, shape, starts, b, h, p, lse.data());
            const int64_t key_head = heads + (shape.first_in_group + h) / shape.group;
            const int64_t value_head = key_head + shape.kv_heads;
            for (int64_t q = 0; q < seq; ++q) {
                const int64_t query = place(shape, b, q, h), out = ((b * seq + q) * heads + h) * hd;
                const double* const grad = &d_o[out];
                const double mean = dot(grad, &o[out], hd);  // of d p under p, from the softmax's denominator
                for (int64_t k = 0; k < seq; ++k) {
                    const int64_t key = place(shape, b, k, key_head), value = place(shape, b, k, value_head);
                    const double weight = p[q * seq + k];
                    const double score = shape.scale * dot(&qkv[query], &qkv[key], hd);
                    const double ds = weight * (dot(grad, &qkv[value], hd) - mean) * slope(shape, score);
                    for (int64_t d = 0; d < hd; ++d) {
                        dqkv[query + d] += shape.scale * ds * qkv[key + d];
                        dqkv[key + d] += shape.scale * ds * qkv[query + d];
                        dqkv[value + d] += weight * grad[d];
                    }
                }
            }
        }
    }
    return dqkv;
}

std::vector<double> attention_cached(const std::vector<double>& q, const std::vector<double>& keys,
                                     const std::vector<double>& values, int64_t length,
                                     const AttentionShape& shape) {
    const int64_t tokens = shape.seq, hd = shape.head_dim, heads = shape.query_heads;
    std::vector<double> o(q.size(), 0.0), p(static_cast<size_t>(length));
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t h = 0; h < heads; ++h) {
            const int64_t kv = (shape.first_in_group + h) / shape.group, at = (t * heads + h) * hd;
            double sum = 0;
            for (int64_t k = 0; k < length; ++k) {
                const double score =
                    capped(shape, shape.scale * dot(&q[at], &keys[(k * shape.kv_heads + kv) * hd], hd));
                p[k] = visible(shape, length - tokens + t, k) ? std::exp(score) : 0.0;
                sum += p[k];
            }
            for (int64_t k = 0; k < length; ++k) {
                for (int64_t d = 0; d < hd; ++d) {
                    o[at + d] += p[k] / sum * values[(k * shape.kv_heads + kv) * hd + d];
                }
            }
        }
    }
    return o;
}

}  // namespace espalier::reference
