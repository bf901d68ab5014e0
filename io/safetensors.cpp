#include "io/safetensors.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

#include "io/mapped_tensors.hpp"
#include "io/shards.hpp"
#include "src/json/parse.hpp"

namespace espalier::io {
namespace {

constexpr uint64_t header_limit = 100'000'000;  // the reference reader's own
constexpr std::array narrow_encodings{
    Encoding{"F8_E4M3", 1, 1},     Encoding{"F8_E5M2", 1, 1},     Encoding{"F8_E8M0", 1, 1},
    Encoding{"F8_E4M3FNUZ", 1, 1}, Encoding{"F8_E5M2FNUZ", 1, 1}, Encoding{"C64", 1, 8},
    Encoding{"F4", 2, 1},          Encoding{"F6_E2M3", 4, 3},     Encoding{"F6_E3M2", 4, 3},
};
constexpr auto advice =
    "convert it: python3 -c 'import sys, torch; from safetensors.torch import load_file, save_file; "
    "save_file({k: v.to(torch.bfloat16) for k, v in load_file(sys.argv[1]).items()}, sys.argv[2], "
    "{\"format\": \"pt\"})' "
    "IN.safetensors OUT.safetensors";

struct Entry {
    std::string name;
    Shape shape;
    const Encoding* encoding;
    uint64_t begin, end;
};

const Encoding* encoding_of(const std::string& name) {
    if (const auto* plain = plain_encoding(name)) return plain;
    const auto* found = std::ranges::find(narrow_encodings, name, &Encoding::name);
    return found == narrow_encodings.end() ? nullptr : found;
}

uint64_t unsigned_of(const nlohmann::json& value, const std::string& where) {
    ESPALIER_REQUIRE(value.is_number_unsigned(), "{}: expected a whole number >= 0", where);
    return value.get<uint64_t>();
}

Entry parse_entry(const std::string& path, const std::string& name, const nlohmann::json& value) {
    const auto where = fmt::format("{}: tensor '{}'", path, name);
    ESPALIER_REQUIRE(value.is_object() && value.size() == 3 && value.contains("dtype") &&
                         value.contains("shape") && value.contains("data_offsets"),
                     "{}: the header must give dtype, shape and data_offsets, nothing else", where);
    const auto &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
    ESPALIER_REQUIRE(dtype.is_string(), "{}: dtype is not a string", where);
    ESPALIER_REQUIRE(shape.is_array(), "{}: shape is not a list", where);
    ESPALIER_REQUIRE(offsets.is_array() && offsets.size() == 2, "{}: data_offsets is not a pair", where);

    Entry entry{name, {}, encoding_of(dtype.get<std::string>()), 0, 0};
    ESPALIER_REQUIRE(entry.encoding, "{}: unknown dtype '{}'", where, dtype.get<std::string>());
    for (const auto& n : shape) {
        const uint64_t length = unsigned_of(n, where + ": shape");
        ESPALIER_REQUIRE(std::in_range<int64_t>(length), "{}: shape {} is too large", where, shape.dump());
        entry.shape.push_back(static_cast<int64_t>(length));
    }
    entry.begin = unsigned_of(offsets[0], where + ": data_offsets");
    entry.end = unsigned_of(offsets[1], where + ": data_offsets");
    const auto elements = checked_count(entry.shape);
    ESPALIER_REQUIRE(elements, "{}: shape {} is too large", where, shape.dump());
    const auto bytes = checked_bytes(*entry.encoding, *elements);
    ESPALIER_REQUIRE(
        bytes && entry.begin <= entry.end && entry.end - entry.begin == static_cast<uint64_t>(*bytes),
        "{}: data_offsets {} do not fit shape {} of {}", where, offsets.dump(), shape.dump(),
        entry.encoding->name);
    return entry;
}

void check_metadata(const std::string& path, const nlohmann::json& metadata) {
    ESPALIER_REQUIRE(metadata.is_object(), "{}: __metadata__ is not an object", path);
    for (const auto& [key, value] : metadata.items()) {
        ESPALIER_REQUIRE(value.is_string(), "{}: __metadata__ '{}' is not a string", path, key);
    }
}

// The data must be covered without holes and without overlap, so that nothing hides in a file.
void check_coverage(const std::string& path, const std::vector<Entry>& entries, uint64_t data_bytes) {
    uint64_t end = 0;
    for (const auto& entry : entries) {
        ESPALIER_REQUIRE(entry.begin == end,
                         "{}: tensor '{}' begins at byte {} of the data, expected {} ({})", path, entry.name,
                         entry.begin, end, entry.begin < end ? "overlap" : "hole");
        end = entry.end;
    }
    ESPALIER_REQUIRE(end == data_bytes, "{}: the tensors need {} bytes of data, the file has {}; {}", path,
                     end, data_bytes,
                     end > data_bytes ? "it is truncated: fetch it again" : "it has bytes too many");
}

}  // namespace

std::unique_ptr<TensorSource> open_safetensors(const std::string& path) {
    const auto file = std::make_shared<const MappedFile>(path);
    ESPALIER_REQUIRE(file->size() >= 8, "{}: {} bytes are too few for a safetensors file", path,
                     file->size());
    uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, file->bytes().data(), sizeof header_bytes);
    ESPALIER_REQUIRE(header_bytes <= header_limit && header_bytes <= file->size() - 8,
                     "{}: not a safetensors file, or truncated: a header of {} bytes in a file of {}", path,
                     header_bytes, file->size());
    const std::string_view header(reinterpret_cast<const char*>(file->bytes().data()) + 8, header_bytes);
    ESPALIER_REQUIRE(header.starts_with('{'), "{}: the safetensors header does not begin with '{{'", path);
    const auto json = parse_json(header, path + ": header", {.depth = 4});

    std::vector<Entry> entries;
    for (const auto& [name, value] : json.items()) {
        if (name == "__metadata__") {
            check_metadata(path, value);
        } else {
            entries.push_back(parse_entry(path, name, value));
        }
    }
    std::ranges::sort(entries, {}, [](const Entry& e) { return std::tie(e.begin, e.end, e.name); });
    const size_t data = 8 + header_bytes;
    check_coverage(path, entries, file->size() - data);

    auto source = std::make_unique<MappedTensors>(file, advice);
    for (auto& e : entries) source->add(std::move(e.name), std::move(e.shape), *e.encoding, data + e.begin);
    return source;
}

std::unique_ptr<TensorSource> open_safetensors_folder(const std::string& folder) {
    const auto index = std::filesystem::path(folder) / "model.safetensors.index.json";
    if (std::filesystem::exists(index)) return open_shards(index, open_safetensors);
    return open_safetensors(std::filesystem::path(folder) / "model.safetensors");
}

}  // namespace espalier::io
