// A model in several files, with a JSON index that says which tensor is in which.
#pragma once

#include <memory>
#include <string>

#include "io/tensor_source.hpp"

namespace espalier::io {

/// The shards of a Hugging Face folder as one source. `index_path` is its index file: every tensor of its
/// weight_map must be in the shard that the map names; tensors that the map does not know are listed too.
/// `open` reads one shard.
std::unique_ptr<TensorSource> open_shards(const std::string& index_path,
                                          std::unique_ptr<TensorSource> (*open)(const std::string& path));

}  // namespace espalier::io
