// Writes a model as safetensors, by several processes at once, each its own rows.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "io/descriptor.hpp"
#include "src/core/tensor.hpp"

namespace espalier::io {

struct SafetensorsTensor {
    std::string name;
    Shape shape;
    DType dtype = DType::bf16;
};

/// Where everything goes, known before the first byte is written: a function of the list and the limit alone,
/// so that every rank has the same.
class SafetensorsLayout {
public:
    /// Tensors go to shards in order; a shard takes tensors up to `shard_bytes` of data, and at least one.
    /// One shard is called model.safetensors, several model-00001-of-00003.safetensors and so on, with an
    /// index.
    SafetensorsLayout(std::vector<SafetensorsTensor> tensors, int64_t shard_bytes);

    struct Place {
        size_t shard;
        int64_t begin;  ///< of the tensor's data, from the beginning of the file
    };
    struct Shard {
        std::string name;
        std::string header;  ///< with its length in front, padded: the tensors' data begin right after it
        int64_t bytes;       ///< of the whole file
    };
    const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }
    const std::vector<Place>& places() const { return places_; }
    const std::vector<Shard>& shards() const { return shards_; }
    int64_t data_bytes() const { return data_bytes_; }
    /// Throws InternalError unless all processes together have written the data of all tensors.
    void expect_written(int64_t bytes_of_all) const;
    std::string index() const;  ///< content of model.safetensors.index.json; empty for a single shard

private:
    void add_shard(std::vector<size_t> members);

    std::vector<SafetensorsTensor> tensors_;
    std::vector<Place> places_;
    std::vector<Shard> shards_;
    int64_t data_bytes_ = 0;
};

/// One process of those that write creates the files, the others join once they are there.
enum class FileRole { create, join };

class SafetensorsWriter {
public:
    /// FileRole::create makes all files in `folder`, at full size, so that a full disk shows before the work
    /// is done; the caller puts a barrier after it, before any other rank's first write_rows. Throws
    /// UserError when a file exists or does not fit.
    SafetensorsWriter(std::string folder, SafetensorsLayout layout, FileRole role);

    /// Rows of axis 0 from `first` on, whole, in the tensor's dtype. Every row is written by exactly one
    /// process.
    void write_rows(size_t tensor, int64_t first, std::span<const std::byte> data);
    /// Puts on the disk what this process wrote; FileRole::create also writes the index. The folder is
    /// complete when every process has returned from it and SafetensorsLayout::expect_written accepts the sum
    /// of their bytes_written(); the caller then publishes it under its name.
    void finish();

    const SafetensorsLayout& layout() const { return layout_; }
    int64_t bytes_written() const { return bytes_written_; }  ///< of tensor data, by this process

private:
    int descriptor_of(size_t shard);

    std::string folder_;
    SafetensorsLayout layout_;
    FileRole role_;
    std::map<size_t, Descriptor> open_;  // the shards that this process writes to
    int64_t bytes_written_ = 0;
};

}  // namespace espalier::io
