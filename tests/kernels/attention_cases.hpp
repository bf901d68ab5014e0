// The shapes that attention is tested with.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/attention.hpp"

namespace espalier::test {

inline int64_t qkv_columns(const AttentionShape& s) {
    return (s.query_heads + 2 * s.kv_heads) * s.head_dim;
}

struct AttentionCase {
    const char* name;
    AttentionShape shape;
    /// Lengths of documents, over and over, of which the sequences are cut one after another; none: every
    /// sequence is one.
    std::vector<int64_t> documents = {};

    int64_t size() const { return shape.batch * shape.seq * qkv_columns(shape); }
};

/// Where each token's document starts in its sequence.
inline std::vector<int32_t> starts_of(const AttentionCase& c) {
    std::vector<int32_t> out;
    int64_t left = 0, start = 0;
    for (size_t next = 0; !c.documents.empty() && std::ssize(out) < c.shape.batch * c.shape.seq; --left) {
        const int64_t position = std::ssize(out) % c.shape.seq;
        if (left == 0) left = c.documents[next++ % c.documents.size()], start = position;
        if (position == 0) start = 0;
        out.push_back(static_cast<int32_t>(start));
    }
    return out;
}

inline AttentionShape attention_shape(int64_t batch, int64_t seq, int64_t query_heads, int64_t kv_heads,
                                      int64_t head_dim, int64_t group, int64_t first_in_group = 0,
                                      int64_t window = 0, float soft_cap = 0) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    return {batch, seq, query_heads, kv_heads, head_dim, group, first_in_group, scale, window, soft_cap};
}

// Blocks of the CPU's kernels are 48 and 96 queries, 96 and 192 keys, tiles 6 x 16.
inline const std::array attention_cases{
    AttentionCase{"one_token", attention_shape(1, 1, 1, 1, 1, 1)},
    AttentionCase{"by_hand", attention_shape(1, 3, 2, 1, 2, 2)},
    AttentionCase{"by_hand_window", attention_shape(1, 4, 1, 1, 3, 1, 0, 2)},
    AttentionCase{"smollm2", attention_shape(2, 293, 9, 3, 64, 3)},
    AttentionCase{"odd_dim_6", attention_shape(3, 101, 4, 2, 6, 2)},
    AttentionCase{"dim_80", attention_shape(1, 197, 4, 1, 80, 4)},
    AttentionCase{"dim_127", attention_shape(1, 50, 2, 2, 127, 1)},
    AttentionCase{"key_chunks", attention_shape(1, 601, 1, 1, 16, 1)},
    AttentionCase{"starts_inside_a_group", attention_shape(2, 49, 5, 3, 8, 3, 2)},
    AttentionCase{"unread_kv_head", attention_shape(1, 20, 2, 2, 8, 2)},
    AttentionCase{"window", attention_shape(2, 311, 2, 1, 16, 2, 0, 70)},
    AttentionCase{"long_window", attention_shape(1, 700, 1, 1, 8, 1, 0, 333)},
    AttentionCase{"window_of_itself", attention_shape(1, 100, 1, 1, 8, 1, 0, 1)},
    AttentionCase{"by_hand_documents", attention_shape(2, 4, 1, 1, 2, 1), {2, 1, 3}},
    AttentionCase{
        "documents_at_edges_of_blocks", attention_shape(2, 300, 3, 1, 16, 3), {48, 48, 96, 1, 63, 64}},
    AttentionCase{
        "documents_across_edges_of_blocks", attention_shape(1, 300, 3, 1, 16, 3), {63, 32, 50, 46, 64}},
    AttentionCase{"documents_across_blocks", attention_shape(3, 131, 5, 3, 64, 3, 2), {37, 1, 80, 14}},
    AttentionCase{"documents_of_one_token", attention_shape(1, 100, 2, 1, 8, 2), {1}},
    AttentionCase{"documents_in_a_window", attention_shape(2, 311, 2, 1, 32, 2, 0, 70), {50, 7, 190}},
    AttentionCase{"documents_in_key_chunks", attention_shape(1, 701, 1, 1, 16, 1), {257, 400}},
    AttentionCase{"documents_of_wide_heads", attention_shape(1, 150, 2, 1, 144, 2), {33, 64, 20}},
    AttentionCase{"dim_96_in_a_window", attention_shape(1, 150, 4, 2, 96, 2, 0, 70)},
    AttentionCase{"dim_128", attention_shape(2, 97, 4, 1, 128, 4)},
    AttentionCase{"dim_192_in_a_window", attention_shape(1, 101, 2, 1, 192, 2, 0, 33)},
    AttentionCase{"dim_256", attention_shape(1, 131, 2, 2, 256, 1)},
    AttentionCase{"dim_256_documents_in_a_window", attention_shape(1, 131, 2, 1, 256, 2, 0, 40), {50, 7, 60}},
    AttentionCase{"by_hand_capped", attention_shape(1, 4, 2, 1, 2, 2, 0, 0, 0.5f)},
    AttentionCase{"capped", attention_shape(2, 131, 4, 2, 64, 2, 0, 0, 0.8f)},
    AttentionCase{"capped_odd_dim", attention_shape(1, 101, 3, 1, 19, 3, 0, 0, 3.0f)},
    AttentionCase{
        "capped_documents_in_a_window", attention_shape(2, 150, 2, 1, 128, 2, 0, 70, 1.5f), {50, 7, 60}},
    AttentionCase{"capped_dim_256", attention_shape(1, 70, 1, 1, 256, 1, 0, 0, 0.3f)},
    AttentionCase{"capped_far_above_the_scores", attention_shape(1, 60, 2, 1, 32, 2, 0, 0, 50.0f)},
    AttentionCase{"no_query_heads", attention_shape(2, 5, 0, 1, 8, 3)},
    AttentionCase{"no_tokens", attention_shape(2, 0, 2, 1, 8, 2)},
    AttentionCase{"no_sequences", attention_shape(0, 7, 2, 1, 8, 2)},
};

inline std::vector<AttentionCase> cases_of_documents() {
    std::vector<AttentionCase> out;
    for (const auto& c : attention_cases) {
        if (!c.documents.empty()) out.push_back(c);
    }
    return out;
}

}  // namespace espalier::test
