// GGUF files of llama.cpp, versions 2 and 3 (docs/gguf.md at ggml-org/ggml).
#pragma once

#include <map>
#include <optional>

#include "io/mapped_tensors.hpp"

namespace espalier::io {

/// Tensors with their dimensions in PyTorch's order, metadata by key. Names and layouts stay as the file has
/// them: llama.cpp's permutation of query and key rows is the model's business.
class GgufFile : public MappedTensors {
public:
    explicit GgufFile(const std::string& path);

    std::vector<std::string> keys() const;  ///< sorted

    /// Nothing when the file has no such key; UserError when it holds something else. A number asked for as
    /// real may be an integer; integers() and reals() take a single number as a list of one.
    std::optional<std::string> text(const std::string& key) const;
    std::optional<int64_t> integer(const std::string& key) const;
    std::optional<double> real(const std::string& key) const;
    std::optional<bool> boolean(const std::string& key) const;
    std::optional<std::vector<std::string>> texts(const std::string& key) const;
    std::optional<std::vector<int64_t>> integers(const std::string& key) const;
    std::optional<std::vector<double>> reals(const std::string& key) const;

private:
    // Where a value lies in the file. It is decoded when asked for, so that opening allocates next to
    // nothing.
    struct Value {
        uint32_t type;  // of the value, or of an array's elements
        bool array;
        uint64_t count;
        size_t begin;
    };
    void read_metadata(class GgufCursor& at, uint64_t count);
    void read_tensors(class GgufCursor& at, uint64_t count);
    template <class T>
    std::optional<std::vector<T>> list(const std::string& key,
                                       T (*read)(class GgufCursor&, uint32_t type)) const;
    template <class T>
    std::optional<T> single(const std::string& key, T (*read)(class GgufCursor&, uint32_t type)) const;

    std::map<std::string, Value> metadata_;
};

std::unique_ptr<GgufFile> open_gguf(const std::string& path);

}  // namespace espalier::io
