// Small weight files made byte by byte, whole or wrong in one place: for the tests and the fuzzers of the
// readers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace espalier::test {

/// The bytes of a number, little-endian.
template <class T>
std::string raw(T value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
template <class T>
std::string raw(const std::vector<T>& values) {
    std::string out;
    for (const T& value : values) out += raw(value);
    return out;
}

/// Header length, header, data.
std::string safetensors_bytes(const std::string& header, const std::string& data);

struct GgufTensor {
    std::string name;
    std::vector<uint64_t> dimensions;  ///< as in the file: the contiguous one first
    uint32_t type = 0;
    std::string data = {};
    std::optional<uint64_t> offset = {};  ///< instead of the right one
};
struct GgufFileSpec {
    std::vector<std::string> metadata = {};  ///< of gguf_value
    std::vector<GgufTensor> tensors = {};
    uint32_t version = 3;
    uint64_t alignment = 32;
    std::optional<uint64_t> tensor_count = {};
    std::optional<uint64_t> metadata_count = {};
};
std::string gguf_text(const std::string& text);
std::string gguf_value(const std::string& key, uint32_t type, const std::string& value);
std::string gguf_array(const std::string& key, uint32_t type, uint64_t count, const std::string& elements);
std::string gguf_bytes(const GgufFileSpec& spec);

struct ZipEntry {
    std::string name;
    std::string content;
    uint16_t method = 0;
};
std::string zip_bytes(const std::vector<ZipEntry>& entries);
/// The same with all sizes and offsets in zip64 fields.
std::string zip64_bytes(const std::vector<ZipEntry>& entries);

struct TorchTensor {
    std::string name;
    std::string storage_type;  ///< "FloatStorage"
    std::string storage;
    uint32_t storage_elements;
    uint32_t offset;
    std::vector<uint32_t> shape;
    std::vector<uint32_t> strides;
    bool parameter = false;
    std::string metadata = {};  ///< in pickle's opcodes; empty: none
};
/// An OrderedDict of tensors in protocol 2, with a _metadata attribute, as torch.save(model.state_dict()) has
/// it.
std::string pickle_bytes(const std::vector<TorchTensor>& tensors);
std::string torch_bin_bytes(const std::vector<TorchTensor>& tensors,
                            const std::map<std::string, std::string>& storages);

}  // namespace espalier::test
