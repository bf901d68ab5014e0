// Espalier's own files: HDF5 with named tensors in their global shape, read and written by all ranks as hyperslabs.
// M.h5, I.h5 and checkpoints are such files; docs/formats.md describes them.
#pragma once

#include <mpi.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "src/core/box.hpp"

namespace espalier::io {

/// One dataset: its path in the file ("parameters/final_norm"), global shape, dtype, and what its axes are.
struct TensorSpec {
    std::string name;
    Shape shape;
    DType dtype = DType::f32;  ///< f32, bf16, f64 or i32
    std::vector<std::string> axes = {};
};

/// Collective: every rank calls, ranks with nothing pass an empty box. Independent: any rank, any time.
enum class Transfer { collective, independent };

/// Position-dependent additive checksum of elements: the sum over ranks of the checksums of disjoint boxes that
/// cover a tensor is the checksum of the tensor, whatever the boxes. Any change of one element changes it.
///   data  the elements of `box`, which lies in a tensor of shape `global`
uint64_t checksum(const Shape& global, const Box& box, const Tensor& data);

class TensorFileWriter {
public:
    /// Collective. Refuses an existing `path` unless `replace`; writes beside it (path + ".partial") until publish.
    /// The partial file is removed by the destructor of a writer that was not published, also while unwinding.
    TensorFileWriter(std::string path, MPI_Comm comm, std::vector<TensorSpec> tensors, bool replace);
    ~TensorFileWriter();
    TensorFileWriter(TensorFileWriter&&) noexcept;

    /// data holds the elements of `box` in the tensor's dtype. Every element is written by exactly one rank.
    void write(const std::string& name, const Box& box, const Tensor& data, Transfer transfer);
    /// Collective; rank 0's content counts. `name` is a path ("tokenizer/tokenizer.json"); stored as u8 [size].
    void write_bytes(const std::string& name, const std::string& content);
    /// Collective; a root attribute. Text is stored as UTF-8, numbers as int64 or double.
    void attribute(const std::string& name, const std::string& text);
    void attribute(const std::string& name, int64_t number);
    void attribute(const std::string& name, double number);
    /// Collective. Stores each tensor's checksum (sum over ranks) in its attribute `checksum`, the root attribute
    /// `content_sha256` (SHA-256 over every tensor's name, shape, dtype, checksum, in order), flushes, closes,
    /// fsyncs, renames, fsyncs the folder. Returns content_sha256. A full disk throws UserError and leaves nothing.
    std::string publish();

private:
    struct State;
    std::unique_ptr<State> state_;
};

class TensorFileReader {
public:
    /// Collective. Throws UserError when the file is missing, not HDF5, damaged, or its root attribute `format` is not
    /// `format` (empty: any).
    TensorFileReader(std::string path, MPI_Comm comm, const std::string& format);
    ~TensorFileReader();
    TensorFileReader(TensorFileReader&&) noexcept;

    const std::string& path() const;
    const std::vector<TensorSpec>& tensors() const;          ///< in order of creation
    const TensorSpec* find(const std::string& name) const;   ///< nullptr where there is none
    const std::vector<std::string>& byte_names() const;      ///< of write_bytes

    /// out [box.count] in the tensor's dtype. `counted` is the part of `box` whose elements this rank answers for in
    /// verify(): over all ranks the counted boxes of a tensor cover it once (pass an empty Box for none).
    void read(const std::string& name, const Box& box, Tensor& out, Transfer transfer, const Box& counted = {});
    std::string read_bytes(const std::string& name);         ///< every rank gets them
    std::string text(const std::string& attribute) const;    ///< UserError where missing
    double number(const std::string& attribute) const;
    bool has_attribute(const std::string& attribute) const;
    std::string content_sha256() const { return text("content_sha256"); }

    /// Collective. Compares what was counted since the last call, for every tensor of which all elements were counted,
    /// with the stored checksums; throws UserError naming file and tensor on a mismatch.
    void verify();
    /// Collective. Reads everything once, split evenly over the ranks, and verifies it.
    void verify_all();

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace espalier::io
