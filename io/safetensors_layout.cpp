#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "io/safetensors_writer.hpp"
#include "src/core/exact.hpp"
#include "src/core/names.hpp"

namespace espalier::io {
namespace {

constexpr std::array dtype_words{Named{DType::f32, "F32"}, Named{DType::bf16, "BF16"},
                                 Named{DType::f64, "F64"}, Named{DType::i32, "I32"}, Named{DType::u8, "U8"}};

int64_t bytes_of(const SafetensorsTensor& tensor) {
    return element_count(tensor.shape) * static_cast<int64_t>(size_of(tensor.dtype));
}

std::string with_length(std::string json) {
    json.append((8 - json.size() % 8) % 8, ' ');
    const auto length = static_cast<uint64_t>(json.size());
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + json;
}

}  // namespace

SafetensorsLayout::SafetensorsLayout(std::vector<SafetensorsTensor> tensors, int64_t shard_bytes)
    : tensors_(std::move(tensors)), places_(tensors_.size()) {
    std::unordered_set<std::string> names;
    std::vector<size_t> members;
    int64_t filled = 0;
    for (size_t i = 0; i < tensors_.size(); ++i) {
        if (!names.insert(tensors_[i].name).second)
            throw InternalError("tensor " + tensors_[i].name + " occurs twice");
        const int64_t bytes = bytes_of(tensors_[i]);
        if (!members.empty() && bytes > shard_bytes - filled) {
            add_shard(std::exchange(members, {}));
            filled = 0;
        }
        members.push_back(i);
        filled += bytes;
    }
    add_shard(std::move(members));
    for (size_t i = 0; i < shards_.size(); ++i) {
        shards_[i].name = shards_.size() == 1
                              ? "model.safetensors"
                              : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards_.size());
    }
}

void SafetensorsLayout::add_shard(std::vector<size_t> members) {
    // Wide types first, as the reference writer does: then every tensor is aligned to its type.
    std::ranges::stable_sort(members, std::greater{}, [&](size_t i) { return size_of(tensors_[i].dtype); });
    nlohmann::ordered_json json{{"__metadata__", {{"format", "pt"}}}};  // transformers asks for it
    int64_t end = 0;
    for (const size_t i : members) {
        const auto& tensor = tensors_[i];
        places_[i] = {shards_.size(), end};
        end += bytes_of(tensor);
        json[tensor.name] = {{"dtype", name_of(dtype_words, tensor.dtype)},
                             {"shape", tensor.shape},
                             {"data_offsets", {places_[i].begin, end}}};
    }
    auto header = with_length(json.dump());
    const auto data = static_cast<int64_t>(header.size());
    for (const size_t i : members) places_[i].begin += data;
    shards_.push_back({"", std::move(header), data + end});
    data_bytes_ += end;
}

void SafetensorsLayout::expect_written(int64_t bytes_of_all) const {
    if (bytes_of_all == data_bytes_) return;
    throw InternalError(fmt::format("{} of {} bytes of tensor data were written", bytes_of_all, data_bytes_));
}

std::string SafetensorsLayout::index() const {
    if (shards_.size() == 1) return {};
    nlohmann::ordered_json map = nlohmann::ordered_json::object();
    for (size_t i = 0; i < tensors_.size(); ++i) map[tensors_[i].name] = shards_[places_[i].shard].name;
    const nlohmann::ordered_json json{{"metadata", {{"total_size", data_bytes_}}},
                                      {"weight_map", std::move(map)}};
    return json.dump(2) + "\n";
}

}  // namespace espalier::io
