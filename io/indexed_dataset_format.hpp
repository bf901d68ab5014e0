// The bytes of an .idx file: a header of fixed places, then i32 sequence_lengths[S], i64 sequence_pointers[S]
// into the .bin, i64 document_indices[D], and for multimodal data i8 modes[S].
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace espalier::io::megatron {

inline constexpr std::string_view magic{"MMIDIDX\0\0", 9};
inline constexpr size_t version_offset = 9;     ///< u64, 1
inline constexpr size_t type_offset = 17;       ///< u8, a TokenType
inline constexpr size_t sequences_offset = 18;  ///< u64 S
inline constexpr size_t documents_offset = 26;  ///< u64 D, one more than there are documents
inline constexpr size_t header_size = 34;

enum class TokenType : uint8_t { u8 = 1, i8 = 2, i16 = 3, i32 = 4, i64 = 5, u16 = 8 };

/// Nothing for codes that are not integers.
inline std::optional<TokenType> token_type(uint8_t code) {
    if ((code >= 1 && code <= 5) || code == 8) return static_cast<TokenType>(code);
    return std::nullopt;
}

/// What Megatron-LM stores the ids of a vocabulary in (DType.optimal_dtype).
inline TokenType narrowest_for(int64_t vocab) {
    return vocab < 65500 ? TokenType::u16 : TokenType::i32;
}

}  // namespace espalier::io::megatron
