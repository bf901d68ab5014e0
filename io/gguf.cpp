#include "io/gguf.hpp"

#include <algorithm>
#include <unordered_set>

#include "io/gguf_cursor.hpp"
#include "io/gguf_quants.hpp"

namespace espalier::io {
namespace {

constexpr auto advice =
    "Espalier decodes F32, F16, BF16, F64, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K; "
    "convert it: llama-quantize --allow-requantize IN.gguf OUT.gguf Q8_0";

struct Entry {
    std::string name;
    Shape shape;
    const Encoding* encoding;
    uint64_t offset, bytes;
};

void check_head(GgufCursor& at) {
    const auto& path = at.path();
    ESPALIER_REQUIRE(at.remaining() >= 24 && std::memcmp(at.skip(4), "GGUF", 4) == 0, "{}: not a GGUF file",
                     path);
    const auto version = at.read<uint32_t>();
    ESPALIER_REQUIRE(version == 0 || (version & 0xffffU) != 0,
                     "{}: a big-endian GGUF file; convert it with llama.cpp's "
                     "gguf_convert_endian.py --little",
                     path);
    ESPALIER_REQUIRE(version == 2 || version == 3,
                     "{}: GGUF version {}, expected 2 or 3; convert the model again with a "
                     "current llama.cpp",
                     path, version);
}

Entry read_entry(GgufCursor& at) {
    Entry entry;
    entry.name = at.text();
    const auto where = fmt::format("{}: tensor '{}'", at.path(), entry.name);
    ESPALIER_REQUIRE(!entry.name.empty() && entry.name.size() <= 64, "{}: the name must have 1 to 64 bytes",
                     where);
    const auto axes = at.read<uint32_t>();
    ESPALIER_REQUIRE(axes <= 4, "{}: {} dimensions, at most 4 are allowed", where, axes);
    for (uint32_t i = 0; i < axes; ++i) entry.shape.push_back(static_cast<int64_t>(at.read<uint64_t>()));
    const int64_t row = axes == 0 ? 1 : entry.shape.front();
    std::ranges::reverse(entry.shape);
    const auto type = at.read<uint32_t>();
    entry.encoding = gguf_encoding(type);
    ESPALIER_REQUIRE(entry.encoding, "{}: unknown number type {}; {}", where, type, advice);
    const auto elements = checked_count(entry.shape);
    ESPALIER_REQUIRE(elements, "{}: dimensions {} are too large", where, to_string(entry.shape));
    ESPALIER_REQUIRE(row % entry.encoding->block == 0,
                     "{}: rows of {} elements are not whole blocks of {} ({})", where, row,
                     entry.encoding->name, entry.encoding->block);
    const auto bytes = checked_bytes(*entry.encoding, *elements);
    ESPALIER_REQUIRE(bytes, "{}: dimensions {} are too large", where, to_string(entry.shape));
    entry.bytes = static_cast<uint64_t>(*bytes);
    entry.offset = at.read<uint64_t>();
    return entry;
}

void check_places(const std::string& path, const std::vector<Entry>& entries, uint64_t alignment,
                  uint64_t data_bytes) {
    std::vector<const Entry*> order;
    order.reserve(entries.size());
    for (const auto& entry : entries) order.push_back(&entry);
    std::ranges::sort(order, {}, [](const Entry* e) { return std::pair(e->offset, e->bytes); });
    uint64_t end = 0;
    for (const auto* e : order) {
        ESPALIER_REQUIRE(e->offset % alignment == 0,
                         "{}: tensor '{}': offset {} is not a multiple of the alignment {}", path, e->name,
                         e->offset, alignment);
        ESPALIER_REQUIRE(e->offset >= end,
                         "{}: tensor '{}' at offset {} overlaps the one before it, which ends at {}", path,
                         e->name, e->offset, end);
        ESPALIER_REQUIRE(e->offset <= data_bytes && e->bytes <= data_bytes - e->offset,
                         "{}: tensor '{}' needs {} bytes at offset {} of {} bytes of data; the file is "
                         "truncated: fetch it "
                         "again",
                         path, e->name, e->bytes, e->offset, data_bytes);
        ESPALIER_REQUIRE(e->offset - end < alignment,
                         "{}: between offset {} and tensor '{}' at {} is a hole; a type or shape is damaged",
                         path, end, e->name, e->offset);
        end = e->offset + e->bytes;
    }
}

}  // namespace

GgufFile::GgufFile(const std::string& path)
    : MappedTensors(std::make_shared<const MappedFile>(path), advice) {
    GgufCursor at(file(), 0);
    check_head(at);
    const auto tensor_count = at.read<uint64_t>();
    const auto metadata_count = at.read<uint64_t>();
    read_metadata(at, metadata_count);
    const auto parts = integer("split.count").value_or(1);
    ESPALIER_REQUIRE(parts <= 1,
                     "{}: one of {} parts; join them: llama-gguf-split --merge FIRST-PART.gguf OUT.gguf",
                     path, parts);
    read_tensors(at, tensor_count);
}

void GgufFile::read_tensors(GgufCursor& at, uint64_t count) {
    constexpr uint64_t smallest = 8 + 1 + 4 + 4 + 8;  // name length, name, axes, type, offset
    ESPALIER_REQUIRE(count <= at.remaining() / smallest, "{}: {} tensors do not fit a file of {} bytes",
                     at.path(), count, file().size());
    std::vector<Entry> entries;
    std::unordered_set<std::string> names;
    for (uint64_t i = 0; i < count; ++i) {
        entries.push_back(read_entry(at));
        ESPALIER_REQUIRE(names.insert(entries.back().name).second, "{}: tensor '{}' occurs twice", at.path(),
                         entries.back().name);
    }
    const auto alignment = static_cast<uint64_t>(integer("general.alignment").value_or(32));
    ESPALIER_REQUIRE(std::has_single_bit(alignment) && alignment <= 1U << 30,
                     "{}: general.alignment {} is not a power of two", at.path(), alignment);
    const uint64_t data = (at.at() + alignment - 1) / alignment * alignment;
    check_places(at.path(), entries, alignment, data <= file().size() ? file().size() - data : 0);
    for (auto& e : entries) add(std::move(e.name), std::move(e.shape), *e.encoding, data + e.offset);
}

std::unique_ptr<GgufFile> open_gguf(const std::string& path) {
    return std::make_unique<GgufFile>(path);
}

}  // namespace espalier::io
