// Megatron-LM's token files, PREFIX.bin and PREFIX.idx (megatron/core/datasets/indexed_dataset.py).
#pragma once

#include <memory>
#include <string>

#include "io/publish.hpp"
#include "src/core/exact.hpp"
#include "src/data/documents.hpp"

namespace espalier::io {

/// Maps both files. One "document" of the result is one sequence of the index (GPTDataset's unit). Token
/// types u8, i8, i16, u16, i32, i64. Throws UserError naming file and field on anything inconsistent;
/// check_ids, when the caller knows the vocabulary, throws on one of these tokens (counted over all
/// documents) that is outside [0, vocab), naming document and position.
class IndexedDataset : public data::Documents {
public:
    explicit IndexedDataset(const std::string& prefix);
    ~IndexedDataset() override;

    int64_t count() const override;
    int64_t length(int64_t document) const override;
    void read(int64_t document, int64_t offset, std::span<int32_t> out) const override;
    int64_t tokens() const;  ///< over all documents
    void check_ids(int64_t vocab, Range tokens) const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Writes documents one after another; uint16 tokens where vocab < 65500, else int32, as Megatron does.
class IndexedDatasetWriter {
public:
    /// Throws UserError where files exist that are to be kept. Both files appear together in finish(), the
    /// .bin first; those that they replace have names of their own until then (.replaced), from which they
    /// come back if it fails, or by the next writer if it is killed.
    IndexedDatasetWriter(const std::string& prefix, int64_t vocab, Existing existing);
    ~IndexedDatasetWriter();
    void add(std::span<const int32_t> document);
    void finish();
    int64_t documents() const;
    int64_t tokens() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace espalier::io
