// What the kernels of attention share: which keys a query sees, and where heads stand in memory.
#pragma once

#include "kernels/attention_heads.hpp"
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

/// Places [begin, end) of the other side that a row of attention has to do with.
struct Span {
    int64_t begin, end;
};

/// Where a sequence's documents start: [seq], or nullptr.
__device__ inline const int32_t* starts_of(const int32_t* starts, int64_t batch, int64_t seq) {
    return starts ? starts + batch * seq : nullptr;
}

/// The keys that query q sees.
__device__ inline Span keys_of(int64_t q, int64_t window, const int32_t* starts) {
    const int64_t oldest = window > 0 && q - window + 1 > 0 ? q - window + 1 : 0;
    return {starts && starts[q] > oldest ? starts[q] : oldest, q + 1};
}

/// The queries of a sequence that see key k: up to the first one whose document starts after it, by
/// bisection, since starts never fall.
__device__ inline Span queries_of(int64_t k, int64_t seq, int64_t window, const int32_t* starts) {
    int64_t end = window > 0 && k + window < seq ? k + window : seq;
    int64_t before = k + 1;  // all queries from k up to here see it
    if (!starts) return {k, end};
    while (before < end) {
        const int64_t middle = (before + end) / 2;
        if (starts[middle] <= k) {
            before = middle + 1;
        } else {
            end = middle;
        }
    }
    return {k, end};
}

/// A scaled score as softmax takes it, and its slope there: both of the score itself where there is no cap.
struct Capped {
    float score, slope;
};
__device__ inline Capped capped(const AttentionShape& shape, float score) {
    if (shape.soft_cap == 0) return {score, 1.0f};
    const float t = tanhf(score / shape.soft_cap);
    return {shape.soft_cap * t, 1.0f - t * t};
}

}  // namespace espalier::cuda
