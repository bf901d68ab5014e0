// Reading somebody else's weights: named tensors, row by row, whatever the file.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/core/tensor.hpp"

namespace espalier::io {

struct TensorInfo {
    std::string name;
    Shape shape;           ///< as PyTorch shows it: the last axis is contiguous
    std::string type;      ///< the file's own word: "BF16", "F16", "Q4_1"
    DType dtype;           ///< of what read_rows gives: bf16 stays bf16, everything else becomes f32
    bool readable = true;  ///< false for a type without a decoder: read_rows throws, saying how to convert
};

/// Every reader checks the whole directory of tensors on opening (names, shapes, offsets, overlaps, file
/// size) and throws UserError naming file and field; it maps the file and reads no data before read_rows.
class TensorSource {
public:
    virtual ~TensorSource() = default;
    virtual const std::vector<TensorInfo>& tensors() const = 0;
    /// Indices [first, first + count) of axis 0 of tensor number `index`, row-major into out, which must have
    /// exactly their bytes in `dtype`. A rank-0 tensor has one row.
    virtual void read_rows(size_t index, int64_t first, int64_t count, std::span<std::byte> out) const = 0;
    /// The files it stands on, in the order that their hashes are taken.
    virtual std::vector<std::string> files() const = 0;
};

/// Number of the tensor called `name`, or -1.
int64_t find(const TensorSource& source, std::string_view name);

/// Rows of `row_elements`: the length of axis 0, 1 for rank 0.
int64_t row_count(const Shape& shape);

/// Opens a Hugging Face folder (safetensors before .bin, sharded or not), a .safetensors, .gguf or .bin file.
/// Throws UserError for anything else; for NeMo and Megatron checkpoints it names the command that converts
/// them.
std::unique_ptr<TensorSource> open_weights(const std::string& path);

}  // namespace espalier::io
