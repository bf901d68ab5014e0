// Hugging Face's safetensors files (safetensors/README.md at huggingface/safetensors).
#pragma once

#include <memory>
#include <string>

#include "io/tensor_source.hpp"

namespace espalier::io {

/// One .safetensors file; tensors in the order of their data. F32, BF16, F16 and F64 can be read, others are
/// listed.
std::unique_ptr<TensorSource> open_safetensors(const std::string& path);

/// A folder with model.safetensors.index.json, or else model.safetensors.
std::unique_ptr<TensorSource> open_safetensors_folder(const std::string& folder);

}  // namespace espalier::io
