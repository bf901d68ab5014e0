// Where the heads of attention stand; nvcc compiles this too.
#pragma once

#include "kernels/attention.hpp"
#include "kernels/host_device.hpp"

namespace espalier {

/// The KV head that a query head reads.
ESPALIER_HOST_DEVICE int64_t kv_head_of(const AttentionShape& shape, int64_t query_head) {
    return (shape.first_in_group + query_head) / shape.group;
}

/// Elements of a token's query, key and value heads.
ESPALIER_HOST_DEVICE int64_t qkv_width(const AttentionShape& shape) {
    return (shape.query_heads + 2 * shape.kv_heads) * shape.head_dim;
}

}  // namespace espalier
