#include "io/safetensors_writer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "io/positioned.hpp"
#include "io/publish.hpp"
#include "io/system_error.hpp"
#include "io/tensor_source.hpp"

namespace espalier::io {
namespace {

[[noreturn]] void fail_writing(const std::string& path, int error) {
    fail_of_system("cannot write " + path, error);
}

std::string shard_path(const std::string& folder, const SafetensorsLayout::Shard& shard) {
    return (std::filesystem::path(folder) / shard.name).string();
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::string folder, SafetensorsLayout layout, FileRole role)
    : folder_(std::move(folder)), layout_(std::move(layout)), role_(role) {
    if (role_ == FileRole::join) return;
    for (const auto& shard : layout_.shards()) {
        const auto path = shard_path(folder_, shard);
        const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
        if (!file) fail_writing(path, errno);
        if (::ftruncate(file.get(), shard.bytes) != 0) fail_writing(path, errno);
        reserve(file.get(), shard.bytes, path);
        write_at(file.get(), 0, std::as_bytes(std::span(shard.header)), path);
    }
}

int SafetensorsWriter::descriptor_of(size_t shard) {
    if (const auto found = open_.find(shard); found != open_.end()) return found->second.get();
    const auto path = shard_path(folder_, layout_.shards()[shard]);
    Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file) fail_writing(path, errno);
    return open_.emplace(shard, std::move(file)).first->second.get();
}

void SafetensorsWriter::write_rows(size_t tensor, int64_t first, std::span<const std::byte> data) {
    const auto& [name, shape, dtype] = layout_.tensors().at(tensor);
    const auto& [shard, begin] = layout_.places()[tensor];
    const int64_t row_bytes = row_elements(shape) * static_cast<int64_t>(size_of(dtype));
    const auto bytes = static_cast<int64_t>(data.size());
    const int64_t total = row_bytes * row_count(shape);
    if (first < 0 || first > row_count(shape) || bytes > total - first * row_bytes ||
        (row_bytes == 0 ? bytes != 0 : bytes % row_bytes != 0)) {
        throw InternalError(
            fmt::format("{} bytes at row {} do not fit {} {}", bytes, first, name, to_string(shape)));
    }
    if (data.empty()) return;
    write_at(descriptor_of(shard), begin + first * row_bytes, data,
             shard_path(folder_, layout_.shards()[shard]));
    bytes_written_ += bytes;
}

void SafetensorsWriter::finish() {
    // The creator answers for the headers of all files, also of those that it wrote no rows of.
    for (size_t shard = 0; role_ == FileRole::create && shard < layout_.shards().size(); ++shard)
        descriptor_of(shard);
    for (const auto& [shard, file] : open_) {
        if (::fsync(file.get()) != 0) fail_writing(shard_path(folder_, layout_.shards()[shard]), errno);
    }
    if (role_ == FileRole::create && layout_.shards().size() > 1) {
        write_file((std::filesystem::path(folder_) / "model.safetensors.index.json").string(),
                   layout_.index());
    }
}

}  // namespace espalier::io
