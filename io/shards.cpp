#include "io/shards.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <unordered_map>

#include "io/mapped_file.hpp"
#include "src/json/parse.hpp"

namespace espalier::io {
namespace {

using WeightMap = std::map<std::string, std::string>;

WeightMap read_weight_map(const std::string& index_path) {
    const MappedFile file(index_path);
    const auto json =
        parse_json({reinterpret_cast<const char*>(file.bytes().data()), file.size()}, index_path);
    ESPALIER_REQUIRE(json.is_object() && json.contains("weight_map") && json["weight_map"].is_object(),
                     "{}: no weight_map", index_path);
    WeightMap map;
    for (const auto& [tensor, shard] : json["weight_map"].items()) {
        ESPALIER_REQUIRE(shard.is_string(), "{}: weight_map '{}' is not a file name", index_path, tensor);
        const auto& name = shard.get_ref<const std::string&>();
        const bool plain = !name.empty() && name != "." && name != ".." &&
                           name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
        ESPALIER_REQUIRE(plain, "{}: weight_map '{}' names '{}', which is not a file of this folder",
                         index_path, tensor, name);
        map.emplace(tensor, name);
    }
    ESPALIER_REQUIRE(!map.empty(), "{}: the weight_map is empty", index_path);
    return map;
}

class Shards : public TensorSource {
public:
    Shards(const std::string& index_path, std::unique_ptr<TensorSource> (*open)(const std::string& path)) {
        const auto map = read_weight_map(index_path);
        std::map<std::string, std::unique_ptr<TensorSource>> opened;
        for (const auto& [tensor, name] : map) opened.try_emplace(name);
        std::unordered_map<std::string, std::string> listed;  // tensor -> shard
        for (auto& [name, shard] : opened) {
            shard = open((std::filesystem::path(index_path).parent_path() / name).string());
            for (size_t i = 0; i < shard->tensors().size(); ++i) {
                const auto& info = shard->tensors()[i];
                const auto entry = map.find(info.name);
                if (entry != map.end() && entry->second != name) continue;
                const auto [other, first] = listed.emplace(info.name, name);
                ESPALIER_REQUIRE(first,
                                 "{}: tensor '{}' is in {} and in {}, and the weight_map does not name it",
                                 index_path, info.name, other->second, name);
                tensors_.push_back(info);
                places_.push_back({shard.get(), i});
            }
        }
        for (const auto& [tensor, name] : map) {
            ESPALIER_REQUIRE(listed.contains(tensor),
                             "{}: tensor '{}' is not in {}, where the weight_map puts it", index_path, tensor,
                             name);
        }
        files_.push_back(index_path);
        for (auto& [name, shard] : opened) {
            std::ranges::copy(shard->files(), std::back_inserter(files_));
            shards_.push_back(std::move(shard));
        }
    }

    const std::vector<TensorInfo>& tensors() const override { return tensors_; }
    void read_rows(size_t index, int64_t first, int64_t count, std::span<std::byte> out) const override {
        const auto& [shard, number] = places_.at(index);
        shard->read_rows(number, first, count, out);
    }
    std::vector<std::string> files() const override { return files_; }

private:
    std::vector<std::unique_ptr<TensorSource>> shards_;
    std::vector<TensorInfo> tensors_;
    std::vector<std::pair<const TensorSource*, size_t>> places_;
    std::vector<std::string> files_;
};

}  // namespace

std::unique_ptr<TensorSource> open_shards(const std::string& index_path,
                                          std::unique_ptr<TensorSource> (*open)(const std::string& path)) {
    return std::make_unique<Shards>(index_path, open);
}

}  // namespace espalier::io
