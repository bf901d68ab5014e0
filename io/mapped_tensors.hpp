// Tensors that lie row-major in a mapped file: what every reader here ends in.
#pragma once

#include <memory>

#include "io/encoding.hpp"
#include "io/tensor_source.hpp"

namespace espalier::io {

class MappedTensors : public TensorSource {
public:
    /// `advice` says what to do about a tensor whose encoding cannot be decoded.
    MappedTensors(std::shared_ptr<const MappedFile> file, std::string advice)
        : file_(std::move(file)), advice_(std::move(advice)) {}

    /// Adds a tensor that begins at byte `begin` of the file. The caller has checked that the shape is a
    /// checked_count and that its checked_bytes lie in the file.
    void add(std::string name, Shape shape, const Encoding& encoding, size_t begin);

    const std::vector<TensorInfo>& tensors() const override { return tensors_; }
    void read_rows(size_t index, int64_t first, int64_t count, std::span<std::byte> out) const override;
    std::vector<std::string> files() const override { return {file_->path()}; }

protected:
    const MappedFile& file() const { return *file_; }

private:
    struct Place {
        const Encoding* encoding;
        size_t begin;
    };
    std::shared_ptr<const MappedFile> file_;
    std::string advice_;
    std::vector<TensorInfo> tensors_;
    std::vector<Place> places_;
};

}  // namespace espalier::io
