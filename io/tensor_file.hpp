// Espalier's own files: HDF5 with named tensors in their global shape, written and read by all ranks as
// hyperslabs. M.h5, I.h5 and checkpoints are such files; docs/formats.md describes them, docs/adr/0001 says
// why they are made so.
#pragma once

#include <mpi.h>

#include <memory>
#include <string>
#include <vector>

#include "io/publish.hpp"
#include "src/core/box.hpp"

namespace espalier::io {

/// One dataset: its path in the file ("parameters/final_norm"), global shape, dtype, and what its axes are.
struct TensorSpec {
    std::string name;
    Shape shape;                         ///< at least one axis
    DType dtype = DType::f32;            ///< f32, bf16, f64 or i32
    std::vector<std::string> axes = {};  ///< one name an axis, or none at all

    int64_t size() const { return element_count(shape); }
    bool operator==(const TensorSpec&) const = default;
};

/// Position-dependent additive checksum of elements: the sum over ranks of the checksums of disjoint boxes
/// that cover a tensor is the checksum of the tensor, whatever the boxes. Any change of one element changes
/// it.
///   data  the elements of `box`, which lies in a tensor of shape `global`
uint64_t checksum(const Shape& global, const Box& box, const Tensor& data);
/// The same of `part` alone, which lies in `box`.
uint64_t checksum(const Shape& global, const Box& box, const Tensor& data, const Box& part);

/// How tensors reach the disk: through the system's cache, where who reads them next finds them; or past it,
/// where the file system can, which spares the processor for those who compute on it.
enum class Through { cache, device };

/// Writing. What is marked collective is called by every rank of `comm` in the same order, and what goes
/// wrong in it on rank 0 is thrown on every rank. `comm` may be MPI_COMM_SELF.
class TensorFileWriter {
public:
    /// Collective. Throws UserError where `path` exists and is to be kept; writes beside it (path +
    /// ".partial") until publish. Space for all tensors is taken at once: a disk too full throws UserError
    /// here. The partial file is a Temporary (io/temporary.hpp).
    TensorFileWriter(std::string path, MPI_Comm comm, std::vector<TensorSpec> tensors, Existing existing,
                     Through through = Through::cache);
    ~TensorFileWriter();
    TensorFileWriter(TensorFileWriter&&) noexcept;

    /// Any rank, any time, without the others. data holds the elements of `box` in the tensor's dtype; it may
    /// be reused on return. Every element is written by exactly one rank, which publish() checks by count.
    void write(const std::string& name, const Box& box, const Tensor& data);
    /// What this rank has written is on the disk on return. Like write(), without the others and from any
    /// thread, one at a time.
    void sync();
    /// Collective; rank 0's content counts. `name` is a path ("tokenizer/tokenizer.json"); stored as u8
    /// [size].
    void write_bytes(const std::string& name, const std::string& content);
    /// A root attribute: UTF-8 text, int64 or double. Rank 0's value counts, and of several the last.
    void attribute(const std::string& name, const std::string& text);
    void attribute(const std::string& name, int64_t number);
    void attribute(const std::string& name, double number);
    /// Collective. Stores each tensor's checksum (sum over ranks) in its attribute `checksum`, the root
    /// attribute `content_sha256` (over every tensor's name, shape, dtype, checksum, in order) and one over
    /// everything else, closes, fsyncs, renames, fsyncs the folder. Returns content_sha256.
    std::string publish();

    /// publish() in three steps, for who has other things to do during the second: gather(), collective, adds
    /// up the checksums of all ranks; seal(), on rank 0 alone and by any thread while no other uses HDF5,
    /// does the rest, and says whether it could; conclude(), collective, throws on all ranks if it could not.
    void gather();
    bool seal() noexcept;
    std::string conclude();

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Whether a file begins as these do; false, too, where it cannot be read.
bool is_tensor_file(const std::string& path);

/// Reading. Collective calls as for the writer. What is not as it was written is a DamagedFile
/// (io/damage.hpp); what the system cannot read, or what is of another kind, a UserError only.
class TensorFileReader {
public:
    /// Collective. Throws DamagedFile when the file is cut short, not HDF5 or not of ours; UserError when it
    /// is missing, cannot be read, or its root attribute `format` is not `format` (empty: any).
    TensorFileReader(std::string path, MPI_Comm comm, const std::string& format);
    ~TensorFileReader();
    TensorFileReader(TensorFileReader&&) noexcept;

    const std::string& path() const;
    MPI_Comm comm() const;
    const std::vector<TensorSpec>& tensors() const;         ///< in the order that the writer was given
    const TensorSpec* find(const std::string& name) const;  ///< nullptr where there is none
    const std::vector<std::string>& byte_names() const;     ///< of write_bytes, in order

    /// Any rank, any time, without the others. out [box.size()] in the tensor's dtype. `counted` is the part
    /// of `box` whose elements this rank answers for in verify(): over all ranks and reads since the last
    /// verify() the counted boxes of a tensor cover no element twice. An empty Box counts nothing.
    void read(const std::string& name, const Box& box, Tensor& out, const Box& counted = {});
    /// Checks their checksum too.
    std::string read_bytes(const std::string& name) const;
    std::string text(const std::string& attribute) const;  ///< UserError where missing or a number
    double number(const std::string& attribute) const;     ///< UserError where missing or text
    int64_t integer(const std::string& attribute) const;   ///< UserError where missing or anything else
    bool has_attribute(const std::string& attribute) const;
    std::string content_sha256() const { return text("content_sha256"); }

    /// Collective. Compares what was counted since the last call, for every tensor of which all elements were
    /// counted, with the stored checksums; throws DamagedFile naming file and tensor on a mismatch.
    void verify();
    /// Collective. Reads everything once, split evenly over the ranks, and verifies it, content_sha256 too.
    void verify_all();

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace espalier::io
