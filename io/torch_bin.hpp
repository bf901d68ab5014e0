// pytorch_model.bin: what torch.save makes of a state dictionary since PyTorch 1.6.
#pragma once

#include <memory>
#include <string>

#include "io/tensor_source.hpp"

namespace espalier::io {

/// One file. BFloat16, Half, Float and Double storages can be read, integers are listed. Tensors must be
/// contiguous; they may share storages.
std::unique_ptr<TensorSource> open_torch_bin(const std::string& path);

/// A folder with pytorch_model.bin.index.json, or else pytorch_model.bin.
std::unique_ptr<TensorSource> open_torch_bin_folder(const std::string& folder);

}  // namespace espalier::io
