// What the kernels of attention share: which keys a query sees, and where heads stand in memory.
#pragma once

#include "kernels/attention.hpp"
#include "kernels/cuda/element.cuh"

namespace espalier::cuda {

/// Of one sequence: rows of queries, keys and values, `stride` elements apart.
template <class T>
struct Heads {
    const T* data;
    int64_t stride;
    __device__ const T* row(int64_t token, int64_t head, int64_t head_dim) const {
        return data + token * stride + head * head_dim;
    }
};

/// The first key that query q sees; the last is q.
__device__ inline int64_t first_seen(int64_t q, int64_t window) {
    return window > 0 && q - window + 1 > 0 ? q - window + 1 : 0;
}

__device__ inline int64_t kv_head_of(const AttentionShape& shape, int64_t query_head) {
    return (shape.first + query_head) / shape.group;
}

inline int64_t qkv_width(const AttentionShape& shape) {
    return (shape.query_heads + 2 * shape.kv_heads) * shape.head_dim;
}

}  // namespace espalier::cuda
