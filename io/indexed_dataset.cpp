#include "io/indexed_dataset.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "io/indexed_dataset_format.hpp"
#include "io/mapped_file.hpp"
#include "src/core/error.hpp"
#include "src/core/exact.hpp"

namespace espalier::io {
namespace {

using namespace megatron;

template <class T>
T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

/// Calls f with a value of the type that this code of the index stands for.
template <class F>
auto visit_token(TokenType type, F&& f) {
    switch (type) {
        case TokenType::u8:
            return f(uint8_t{});
        case TokenType::i8:
            return f(int8_t{});
        case TokenType::i16:
            return f(int16_t{});
        case TokenType::u16:
            return f(uint16_t{});
        case TokenType::i32:
            return f(int32_t{});
        case TokenType::i64:
            return f(int64_t{});
    }
    throw InternalError("unknown token type");
}

std::string checked(const std::string& prefix) {
    for (const char* suffix : {".bin", ".idx"}) {
        ESPALIER_REQUIRE(!prefix.ends_with(suffix), "{}: give the prefix of a token file, without {}", prefix,
                         suffix);
    }
    return prefix;
}

}  // namespace

struct IndexedDataset::State {
    explicit State(const std::string& prefix)
        : index(checked(prefix) + ".idx"),
          // Samples take documents in random order: reading far ahead of one would be in vain.
          tokens_file(prefix + ".bin", MappedFile::Access::at_random) {
        read_header();
        check_sequences();
        check_documents();
    }

    void read_header();
    void check_sequences();
    void check_documents() const;

    // Nothing in the index is aligned.
    int64_t length(int64_t i) const { return load<int32_t>(lengths + i * 4); }
    int64_t pointer(int64_t i) const { return load<int64_t>(pointers + i * 8); }

    /// Tokens [offset, offset + count) of a sequence, one after another.
    template <class F>
    void for_each_token(int64_t sequence, int64_t offset, int64_t count, F&& f) const {
        visit_token(type, [&](auto zero) {
            using Token = decltype(zero);
            const std::byte* from = tokens_file.bytes().data() + pointer(sequence) + offset * token_size;
            for (int64_t i = 0; i < count; ++i) f(i, load<Token>(from + i * token_size));
        });
    }

    MappedFile index, tokens_file;
    TokenType type{};
    int64_t token_size = 0;
    int64_t sequences = 0;
    int64_t document_boundaries = 0;
    int64_t tokens = 0;
    const std::byte *lengths = nullptr, *pointers = nullptr, *documents = nullptr;
};

void IndexedDataset::State::read_header() {
    const auto bytes = index.bytes();
    const auto& path = index.path();
    ESPALIER_REQUIRE(
        bytes.size() >= header_size && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0,
        "{} is not an index of Megatron-LM: it does not begin with MMIDIDX", path);
    const auto version = load<uint64_t>(bytes.data() + version_offset);
    ESPALIER_REQUIRE(version == 1, "{} has version {}, not 1", path, version);
    const auto code = load<uint8_t>(bytes.data() + type_offset);
    const auto known = token_type(code);
    ESPALIER_REQUIRE(known,
                     "{} has tokens of type {}, which is not an integer type of Megatron-LM (1 to 5, 8)",
                     path, code);
    type = *known;
    token_size = visit_token(type, [](auto zero) { return static_cast<int64_t>(sizeof zero); });

    const auto s = load<uint64_t>(bytes.data() + sequences_offset);
    const auto d = load<uint64_t>(bytes.data() + documents_offset);
    const uint64_t room = bytes.size() - header_size;
    // Bounded before they are multiplied.
    ESPALIER_REQUIRE(s <= room / 12 && d <= room / 8,
                     "{} has {} bytes, too few for its {} sequences and {} documents", path, bytes.size(), s,
                     d);
    const uint64_t plain = s * 12 + d * 8;  // one byte more a sequence where there are modes
    ESPALIER_REQUIRE(room == plain || room == plain + s,
                     "{} has {} bytes, expected {} for {} sequences and {} documents", path, bytes.size(),
                     header_size + plain, s, d);
    sequences = static_cast<int64_t>(s);
    document_boundaries = static_cast<int64_t>(d);
    lengths = bytes.data() + header_size;
    pointers = lengths + sequences * 4;
    documents = pointers + sequences * 8;
}

void IndexedDataset::State::check_sequences() {
    const auto size = static_cast<int64_t>(tokens_file.size());
    for (int64_t i = 0; i < sequences; ++i) {
        const int64_t n = length(i), begin = pointer(i);
        ESPALIER_REQUIRE(n >= 0, "{}: sequence_lengths[{}] is {}", index.path(), i, n);
        ESPALIER_REQUIRE(begin >= 0 && begin <= size && n <= (size - begin) / token_size,
                         "{}: sequence_pointers[{}] is {}, from where {} tokens of {} bytes do not lie in "
                         "the {} bytes of {}",
                         index.path(), i, begin, n, token_size, size, tokens_file.path());
        tokens += n;
    }
}

void IndexedDataset::State::check_documents() const {
    int64_t previous = 0;
    ESPALIER_REQUIRE(document_boundaries > 0, "{}: document_indices is empty; its first entry should be 0",
                     index.path());
    for (int64_t i = 0; i < document_boundaries; ++i) {
        const auto boundary = load<int64_t>(documents + i * 8);
        ESPALIER_REQUIRE(i > 0 ? boundary >= previous : boundary == 0,
                         "{}: document_indices[{}] is {}; they begin with 0 and never fall", index.path(), i,
                         boundary);
        previous = boundary;
    }
    ESPALIER_REQUIRE(previous == sequences, "{}: document_indices end with {}, not with the {} sequences",
                     index.path(), previous, sequences);
}

IndexedDataset::IndexedDataset(const std::string& prefix) : state_(std::make_unique<State>(prefix)) {}
IndexedDataset::~IndexedDataset() = default;

int64_t IndexedDataset::count() const {
    return state_->sequences;
}
int64_t IndexedDataset::length(int64_t document) const {
    return state_->length(document);
}
int64_t IndexedDataset::tokens() const {
    return state_->tokens;
}

void IndexedDataset::read(int64_t document, int64_t offset, std::span<int32_t> out) const {
    const State& s = *state_;
    if (document < 0 || document >= s.sequences || offset < 0 ||
        std::ssize(out) > s.length(document) - offset) {
        throw InternalError(fmt::format("{} tokens at {} of document {}", out.size(), offset, document));
    }
    bool fits = true;
    s.for_each_token(document, offset, std::ssize(out), [&](int64_t i, auto token) {
        out[i] = static_cast<int32_t>(token);  // NOLINT(bugprone-signed-char-misuse)
        if constexpr (sizeof token > sizeof(int32_t)) fits = fits && std::in_range<int32_t>(token);
    });
    ESPALIER_REQUIRE(fits, "{}: document {} has a token that does not fit 32 bits", s.tokens_file.path(),
                     document);
}

void IndexedDataset::check_ids(int64_t vocab, Range tokens) const {
    // Of a file that may be larger than memory some MB at a time are resident.
    constexpr int64_t piece = int64_t{1} << 20, most_bytes = int64_t{16} << 20;
    const State& s = *state_;
    int64_t begin = 0, read = 0;  // bytes that lie behind each other
    const auto go_on_at = [&](int64_t pointer) {
        if (pointer == begin + read && read < most_bytes) return;
        s.tokens_file.release(static_cast<size_t>(begin), static_cast<size_t>(read));
        begin = pointer;
        read = 0;
    };
    for (int64_t d = 0, at = 0; d < s.sequences && at < tokens.end; at += s.length(d++)) {
        const int64_t end = std::min(tokens.end - at, s.length(d));
        for (int64_t first = std::max(tokens.begin - at, int64_t{0}); first < end; first += piece) {
            const int64_t count = std::min(end - first, piece);
            go_on_at(s.pointer(d) + first * s.token_size);
            s.for_each_token(d, first, count, [&](int64_t i, auto token) {
                ESPALIER_REQUIRE(int64_t{token} >= 0 && int64_t{token} < vocab,
                                 "{}: document {} has token {} at position {}, outside the vocabulary of {}; "
                                 "tokenize the text with the model's own tokenizer",
                                 s.tokens_file.path(), d, token, first + i, vocab);
            });
            read += count * s.token_size;
        }
    }
    go_on_at(-1);
}

}  // namespace espalier::io
