// The shapes that ops are checked against reference, differentiated and timed at: one table per kind of op.
#pragma once

#include <array>
#include <cstdint>

#include "src/core/dtype.hpp"
#include "src/core/exact.hpp"

namespace espalier::test {

inline constexpr std::array float_types{DType::f32, DType::bf16};

/// Elements of a case up to which it is differentiated numerically, and up to which it is tested at all; from
/// large_size on it is worth timing.
constexpr int64_t small_size = 64;
constexpr int64_t tested_size = 4'000'000;
constexpr int64_t large_size = 100'000;

// clang-format off

/// x [rows, n]: norms, activations, element by element.
struct RowCase {
    const char* name;
    int64_t rows, n;
    constexpr int64_t size() const { return rows * n; }
};
inline constexpr std::array row_cases{
    RowCase{"one_element", 1, 1},
    RowCase{"by_hand", 3, 13},
    RowCase{"smollm2", 2048, 576},
    RowCase{"odd_and_wide", 7, 5003},  // no multiple of a vector, a warp or a block
    RowCase{"many_odd_rows", 131, 17},
    RowCase{"no_rows", 0, 64},  // a rank with nothing to do
};

/// x [tokens, heads * head_dim + spare], of which `pairs` pairs of every head turn.
struct RotaryCase {
    const char* name;
    int64_t tokens, heads, head_dim, pairs, spare;
    constexpr int64_t width() const { return heads * head_dim + spare; }
    constexpr int64_t size() const { return tokens * width(); }
};
inline constexpr std::array rotary_cases{
    RotaryCase{"one_pair", 1, 1, 2, 1, 0},
    RotaryCase{"by_hand", 3, 2, 6, 2, 5},
    RotaryCase{"smollm2", 2048, 12, 64, 32, 192},  // query and key heads turn, value heads are spare
    RotaryCase{"half_turned", 37, 3, 10, 3, 7},
    RotaryCase{"half_turned_in_packs", 37, 3, 40, 16, 8},
    RotaryCase{"packs_at_odd_places", 9, 2, 16, 8, 3},
    RotaryCase{"no_heads", 5, 0, 64, 32, 64},
    RotaryCase{"no_tokens", 0, 2, 8, 4, 0},
};

/// x [tokens, (query_heads + 2 kv_heads) * head_dim]: queries, keys and values.
struct HeadCase {
    const char* name;
    int64_t tokens, query_heads, kv_heads, head_dim;
    constexpr int64_t width() const { return (query_heads + 2 * kv_heads) * head_dim; }
    constexpr int64_t size() const { return tokens * width(); }
};
inline constexpr std::array head_cases{
    HeadCase{"one_dim", 1, 1, 1, 1},
    HeadCase{"by_hand", 3, 2, 1, 5},
    HeadCase{"qwen3", 517, 16, 8, 128},
    HeadCase{"qwen3_8b", 2048, 32, 8, 128},  // timed alone
    HeadCase{"odd_dims", 131, 11, 1, 37},
    HeadCase{"wider_than_a_warp", 9, 2, 2, 320},
    HeadCase{"no_tokens", 0, 2, 1, 8},
};

/// `tokens` ids over a table [vocab, n] that begins at first_id; some ids lie outside.
struct EmbeddingCase {
    const char* name;
    int64_t tokens, vocab, n, first_id;
    constexpr int64_t size() const { return (tokens + vocab) * n; }
};
inline constexpr std::array embedding_cases{
    EmbeddingCase{"one_element", 1, 1, 1, 0},
    EmbeddingCase{"by_hand", 5, 3, 7, 2},
    EmbeddingCase{"smollm2", 2048, 49152, 576, 0},  // timed alone
    EmbeddingCase{"smollm2_slice", 512, 3000, 576, 6000},
    EmbeddingCase{"second_half", 301, 120, 33, 120},
    EmbeddingCase{"no_table", 6, 0, 16, 100},
    EmbeddingCase{"no_tokens", 0, 10, 16, 0},
};

/// Logits [rows, vocab].
struct VocabularyCase {
    const char* name;
    int64_t rows, vocab;
    float tau;
    constexpr int64_t size() const { return rows * vocab; }
};
inline constexpr std::array vocabulary_cases{
    VocabularyCase{"one_token", 1, 1, 1.0f},
    VocabularyCase{"by_hand", 3, 11, 1.0f},
    VocabularyCase{"by_hand_warm", 2, 13, 2.5f},
    VocabularyCase{"smollm2", 6, 49152, 1.0f},
    VocabularyCase{"smollm2_block", 256, 49152, 1.0f},  // timed alone
    VocabularyCase{"odd_and_wide", 5, 5003, 0.7f},
    VocabularyCase{"no_rows", 0, 100, 1.0f},
};

/// x [samples * seq, n], moments of `columns`.
struct MomentsCase {
    const char* name;
    int64_t samples, seq, n;
    Range columns;
    constexpr int64_t size() const { return samples * seq * n; }
};
inline constexpr std::array moments_cases{
    MomentsCase{"one_element", 1, 1, 1, {0, 1}},
    MomentsCase{"by_hand", 2, 3, 5, {1, 4}},
    MomentsCase{"smollm2_channels", 4, 512, 576, {0, 576}},
    MomentsCase{"smollm2_neurons", 4, 512, 1536, {0, 1536}},
    MomentsCase{"one_long_sample", 1, 1023, 4099, {3, 4098}},
    MomentsCase{"no_columns", 2, 9, 64, {64, 64}},
    MomentsCase{"no_samples", 0, 0, 64, {0, 64}},
};

// clang-format on

}  // namespace espalier::test
