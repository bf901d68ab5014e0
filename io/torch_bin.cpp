#include "io/torch_bin.hpp"

#include <filesystem>

#include "io/mapped_tensors.hpp"
#include "io/shards.hpp"
#include "io/torch_pickle.hpp"
#include "io/zip_archive.hpp"

namespace espalier::io {
namespace {

std::string_view content(const MappedFile& file, const ZipMember& member) {
    return {reinterpret_cast<const char*>(file.bytes().data()) + member.begin, member.size};
}

// The folder that all members are in: the part of the one ".../data.pkl" before its name, with the slash.
std::string folder_of(const std::string& path, const std::map<std::string, ZipMember>& members) {
    for (const auto& [name, member] : members) {
        const auto slash = name.find('/');
        if (slash != std::string::npos && name.substr(slash + 1) == "data.pkl")
            return name.substr(0, slash + 1);
    }
    fail("{}: an archive without data.pkl is not what torch.save writes", path);
}

// An axis of length 1 is never stepped along, so that its stride means nothing.
bool is_contiguous(const Shape& shape, const std::vector<int64_t>& strides) {
    int64_t expected = 1;
    for (size_t axis = shape.size(); axis-- > 0;) {
        if (shape[axis] != 1 && strides[axis] != expected) return false;
        expected *= shape[axis];
    }
    return true;
}

void add_tensor(MappedTensors& source, const std::string& path, const PickledTensor& tensor,
                const ZipMember& storage) {
    const auto where = fmt::format("{}: tensor '{}'", path, tensor.name);
    const Encoding& encoding = *tensor.encoding;
    ESPALIER_REQUIRE(tensor.storage_elements >= 0 && storage.size % encoding.block_bytes == 0 &&
                         storage.size / encoding.block_bytes == static_cast<size_t>(tensor.storage_elements),
                     "{}: storage {} of {} {} elements has {} bytes in the archive; the file is damaged",
                     where, tensor.storage, tensor.storage_elements, encoding.name, storage.size);
    const auto elements = checked_count(tensor.shape);
    ESPALIER_REQUIRE(elements && tensor.strides.size() == tensor.shape.size(),
                     "{}: shape {} with strides {} is not valid", where, to_string(tensor.shape),
                     to_string(tensor.strides));
    ESPALIER_REQUIRE(tensor.offset >= 0 && tensor.offset <= tensor.storage_elements &&
                         *elements <= tensor.storage_elements - tensor.offset,
                     "{}: {} elements from {} leave storage {} of {}", where, *elements, tensor.offset,
                     tensor.storage, tensor.storage_elements);
    ESPALIER_REQUIRE(
        *elements == 0 || is_contiguous(tensor.shape, tensor.strides),
        "{}: not contiguous (shape {}, strides {}); save it again: python3 -c 'import sys, torch; "
        "torch.save({{k: v.contiguous() for k, v in torch.load(sys.argv[1]).items()}}, sys.argv[2])' IN.bin "
        "OUT.bin",
        where, to_string(tensor.shape), to_string(tensor.strides));
    source.add(tensor.name, tensor.shape, encoding,
               storage.begin + static_cast<size_t>(tensor.offset * encoding.block_bytes));
}

}  // namespace

std::unique_ptr<TensorSource> open_torch_bin(const std::string& path) {
    const auto file = std::make_shared<const MappedFile>(path);
    ESPALIER_REQUIRE(is_zip(*file),
                     "{}: not an archive of torch.save; if it was saved by PyTorch before 1.6, convert it: "
                     "python3 -c 'import "
                     "sys, torch; torch.save(torch.load(sys.argv[1], \"cpu\"), sys.argv[2])' IN.bin OUT.bin",
                     path);
    const auto members = zip_members(*file);
    const auto folder = folder_of(path, members);
    if (const auto order = members.find(folder + "byteorder"); order != members.end()) {
        ESPALIER_REQUIRE(content(*file, order->second) == "little",
                         "{}: saved on a big-endian machine; save it again on a "
                         "little-endian one",
                         path);
    }
    auto source = std::make_unique<MappedTensors>(file, "it holds integers, which are not weights");
    for (const auto& tensor : unpickle_tensors(content(*file, members.at(folder + "data.pkl")), path)) {
        const auto storage = members.find(folder + "data/" + tensor.storage);
        ESPALIER_REQUIRE(storage != members.end(), "{}: tensor '{}': the archive has no member {}data/{}",
                         path, tensor.name, folder, tensor.storage);
        add_tensor(*source, path, tensor, storage->second);
    }
    return source;
}

std::unique_ptr<TensorSource> open_torch_bin_folder(const std::string& folder) {
    const auto index = std::filesystem::path(folder) / "pytorch_model.bin.index.json";
    if (std::filesystem::exists(index)) return open_shards(index, open_torch_bin);
    return open_torch_bin(std::filesystem::path(folder) / "pytorch_model.bin");
}

}  // namespace espalier::io
