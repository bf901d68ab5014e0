#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <exception>
#include <optional>
#include <unordered_map>

#include "io/checksum.hpp"
#include "io/collective.hpp"
#include "io/descriptor.hpp"
#include "io/direct_writer.hpp"
#include "io/hyperslab.hpp"
#include "io/positioned.hpp"
#include "io/publish.hpp"
#include "io/system_error.hpp"
#include "io/temporary.hpp"
#include "io/tensor_catalogue.hpp"
#include "src/core/exact.hpp"

namespace espalier::io {
namespace {

// Small enough to be in the processor's cache for the checksum and still there for the copy; through the
// system's cache a good size for a disk, too.
constexpr int64_t piece_bytes = int64_t{4} << 20, direct_piece_bytes = int64_t{256} << 10;
// Beyond the tensors: room for the attributes that publish() adds.
constexpr int64_t reserved_metadata = int64_t{1} << 20;

struct Split {
    std::string folder, name;
};

Split split(const std::string& path) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return {"", path};
    return {path.substr(0, slash), path.substr(slash + 1)};
}

/// A failure of HDF5 while writing is the disk's, not ours.
template <class F>
auto blaming_the_disk(const std::string& path, F&& work) {
    try {
        return work();
    } catch (const hdf5::Error& error) {
        if (error.system_error() != 0) fail_of_system("cannot write " + path, error.system_error());
        fail("cannot write {}: {}", path, error.what());
    }
}

/// Makes the datasets of a file. What they have in common is made once: a training run waits for it.
class Datasets {
public:
    explicit Datasets(const hdf5::File& file) : file_(file) {}

    hdf5::Dataset create(const TensorSpec& spec) {
        const auto [folder, name] = split(spec.name);
        auto dataset = hdf5::create_dataset(group(folder), name, spec.dtype,
                                            {spec.shape.begin(), spec.shape.end()}, creation_);
        hdf5::write_attribute(dataset, "dtype", std::string(to_string(spec.dtype)));
        if (!spec.axes.empty()) hdf5::write_attribute(dataset, "axes", spec.axes);
        return dataset;
    }

private:
    const hdf5::Group& group(const std::string& path) {
        const auto found = groups_.find(path);
        return found != groups_.end() ? found->second
                                      : groups_.emplace(path, hdf5::require_group(file_, path)).first->second;
    }

    const hdf5::File& file_;
    hdf5::Properties creation_ = hdf5::placed_at_once();
    std::unordered_map<std::string, hdf5::Group> groups_;
};

int64_t offset_of(const hdf5::Dataset& dataset) {
    const haddr_t offset = H5Dget_offset(dataset);
    return offset == HADDR_UNDEF ? 0 : static_cast<int64_t>(offset);
}

}  // namespace

struct TensorFileWriter::State {
    State(std::string p, MPI_Comm c) : path(std::move(p)), partial_path(path + ".partial"), comm(c) {}

    void create_file(Existing existing);
    void reserve_space(int64_t beyond_end);
    void write(int64_t offset, std::span<const std::byte> bytes);
    void start_writeback(int64_t begin, int64_t end) const;
    void store_metadata();
    std::string sealed();

    std::string path, partial_path;
    std::optional<Temporary>
        partial;  ///< on rank 0, which alone knows that no other job has one of this name
    MPI_Comm comm;
    Catalogue catalogue;  ///< checksums are those of what this rank wrote, until publish()
    std::unordered_map<std::string, size_t> index;
    std::vector<uint64_t> written;  ///< elements of each tensor, by this rank
    hdf5::File file;                ///< open on rank 0
    std::optional<Descriptor> data;
    std::unique_ptr<DirectWriter> direct;
    Range scattered;             ///< bytes of the last box in many pieces, whose writeback was not started
    std::string hash;            ///< of what is sealed, on rank 0
    std::exception_ptr failure;  ///< of sealing
};

void TensorFileWriter::State::create_file(Existing existing) {
    check_output(path, existing);
    ::unlink(partial_path.c_str());  // what a killed run left may be a link or belong to a reader
    partial.emplace(partial_path);
    // Asked first: HDF5 does not survive that it cannot close a file.
    int64_t bytes = reserved_metadata;
    for (const auto& entry : catalogue.tensors)
        bytes += entry.spec.size() * static_cast<int64_t>(size_of(entry.spec.dtype));
    expect_allowed(bytes, path);
    file = hdf5::create_file(partial_path);
    Datasets datasets(file);
    uint64_t position = 0;
    for (auto& [spec, offset, checksum] : catalogue.tensors) {
        const auto dataset = datasets.create(spec);
        hdf5::write_attribute(dataset, "index", position++);
        hdf5::write_attribute(dataset, "checksum", uint64_t{0});
        offset = offset_of(dataset);
    }
    CHECK_HDF5(H5Fflush(file, H5F_SCOPE_GLOBAL));
}

void TensorFileWriter::State::reserve_space(int64_t beyond_end) {
    struct stat status = {};
    if (::fstat(data->get(), &status) != 0) fail_of_system("cannot write " + path, errno);
    reserve(data->get(), status.st_size + beyond_end, path);
}

void TensorFileWriter::State::write(int64_t offset, std::span<const std::byte> bytes) {
    if (direct) return direct->write(offset, bytes);
    write_at(data->get(), offset, bytes, path);
    if (std::ssize(bytes) == piece_bytes) start_writeback(offset, offset + piece_bytes);
}

// The disk works while we go on; without this it idles until publish(). A hint: it may fail.
void TensorFileWriter::State::start_writeback(int64_t begin, int64_t end) const {
    if (begin < end) ::sync_file_range(data->get(), begin, end - begin, SYNC_FILE_RANGE_WRITE);
}

TensorFileWriter::TensorFileWriter(std::string path, MPI_Comm comm, std::vector<TensorSpec> tensors,
                                   Existing existing, Through through)
    : state_(std::make_unique<State>(std::move(path), comm)) {
    State& s = *state_;
    for (auto& spec : tensors) {
        if (!s.index.emplace(spec.name, s.index.size()).second) {
            throw InternalError(fmt::format("{}: two tensors are called {}", s.path, spec.name));
        }
        if (spec.shape.empty()) throw InternalError(fmt::format("{}: {} has no axes", s.path, spec.name));
        s.catalogue.tensors.push_back({std::move(spec), 0, 0});
    }
    s.written.resize(tensors.size());
    const std::string places = on_root(comm, [&] {
        return blaming_the_disk(s.path, [&] {
            s.create_file(existing);
            return serialised(s.catalogue);
        });
    });
    if (rank_in(comm) != 0) s.catalogue = deserialised(places);
    on_all(comm, [&] {
        s.data.emplace(::open(s.partial_path.c_str(), O_WRONLY | O_CLOEXEC));
        if (!*s.data) fail_of_system("cannot write " + s.partial_path, errno);
        if (rank_in(comm) == 0) s.reserve_space(reserved_metadata);
        if (through == Through::device)
            s.direct = std::make_unique<DirectWriter>(s.partial_path, s.data->get(), s.path);
    });
}

TensorFileWriter::~TensorFileWriter() = default;
TensorFileWriter::TensorFileWriter(TensorFileWriter&&) noexcept = default;

void TensorFileWriter::write(const std::string& name, const Box& box, const Tensor& data) {
    State& s = *state_;
    const auto found = s.index.find(name);
    if (found == s.index.end()) throw InternalError(fmt::format("{} has no tensor {}", s.path, name));
    CatalogueEntry& entry = s.catalogue.tensors[found->second];
    const TensorSpec& spec = entry.spec;
    expect_inside(whole(spec.shape), box, name);
    expect_dtype(data, spec.dtype, name.c_str());
    if (data.size() != box.size()) {
        throw InternalError(fmt::format("{}: {} elements for a box of {}", name, data.size(), box.size()));
    }
    const auto element = static_cast<int64_t>(size_of(spec.dtype));
    const int64_t piece = (s.direct ? direct_piece_bytes : piece_bytes) / element;
    int64_t begin = 0, end = 0;  // of the box's bytes in the file
    for_each_run(spec.shape, box, box, [&](int64_t global_index, int64_t box_index, int64_t count) {
        for (int64_t done = 0, n = 0; done < count; done += n) {
            n = std::min(count - done, piece);
            const std::byte* from = data.raw() + (box_index + done) * element;
            const int64_t to = entry.offset + (global_index + done) * element;
            entry.checksum += checksum_of_run(from, static_cast<size_t>(element), global_index + done, n);
            s.write(to, {from, static_cast<size_t>(n * element)});
            if (end == 0) begin = to;
            end = to + n * element;
        }
    });
    // Of a box in many pieces other ranks write the pieces between; they will have done so by the next call.
    s.start_writeback(s.scattered.begin, s.scattered.end);
    s.scattered = end - begin > box.size() * element ? Range{begin, end} : Range{};
    s.written[found->second] += static_cast<uint64_t>(box.size());
}

void TensorFileWriter::sync() {
    if (state_->direct) state_->direct->flush();
    if (::fsync(state_->data->get()) != 0)
        fail_of_system("cannot bring " + state_->path + " to the disk", errno);
}

void TensorFileWriter::write_bytes(const std::string& name, const std::string& content) {
    State& s = *state_;
    on_root(s.comm, [&] {
        return blaming_the_disk(s.path, [&] {
            const auto size = static_cast<int64_t>(content.size());
            s.reserve_space(size + reserved_metadata);
            CatalogueEntry entry{{name, {size}, DType::u8}, 0, 0};
            entry.checksum = checksum_of_run(reinterpret_cast<const std::byte*>(content.data()), 1, 0, size);
            const auto dataset = Datasets(s.file).create(entry.spec);
            hdf5::write_attribute(dataset, "checksum", entry.checksum);
            entry.offset = offset_of(dataset);
            write_at(s.data->get(), entry.offset, std::as_bytes(std::span(content)), s.path);
            s.catalogue.bytes.push_back(std::move(entry));
            return std::string();
        });
    });
}

void TensorFileWriter::attribute(const std::string& name, const std::string& text) {
    state_->catalogue.attributes[name] = text;
}
void TensorFileWriter::attribute(const std::string& name, int64_t number) {
    state_->catalogue.attributes[name] = number;
}
void TensorFileWriter::attribute(const std::string& name, double number) {
    state_->catalogue.attributes[name] = number;
}

void TensorFileWriter::State::store_metadata() {
    for (const auto& entry : catalogue.tensors) {
        const hdf5::Dataset dataset(CHECK_HDF5(H5Dopen2(file, entry.spec.name.c_str(), H5P_DEFAULT)));
        hdf5::rewrite_attribute(dataset, "checksum", entry.checksum);
    }
    catalogue.attributes["content_sha256"] = catalogue.content_sha256();
    catalogue.attributes["metadata_sha256"] = catalogue.metadata_sha256();
    const hdf5::Group root(CHECK_HDF5(H5Gopen2(file, "/", H5P_DEFAULT)));
    for (const auto& [name, value] : catalogue.attributes) hdf5::write_attribute(root, name.c_str(), value);
}

std::string TensorFileWriter::State::sealed() {
    return blaming_the_disk(path, [&] {
        // Where nodes have caches of their own (NFS), this one's pages are from before the others wrote
        // theirs, and a page of metadata may hold the end of a tensor.
        ::posix_fadvise(data->get(), 0, 0, POSIX_FADV_DONTNEED);
        store_metadata();
        file.close();
        struct stat status = {};
        // Cutting a file to its own length gives back what was reserved beyond it.
        if (::fstat(data->get(), &status) != 0 || ::ftruncate(data->get(), status.st_size) != 0)
            fail_of_system("cannot write " + path, errno);
        partial->publish_as(path);
        return std::get<std::string>(catalogue.attributes.at("content_sha256"));
    });
}

std::string TensorFileWriter::publish() {
    gather();
    if (rank_in(state_->comm) == 0) seal();
    return conclude();
}

void TensorFileWriter::gather() {
    State& s = *state_;
    // Every rank for itself: on several nodes each has its own cache.
    on_all(s.comm, [&] { sync(); });
    std::vector<uint64_t> checksums;
    for (const auto& entry : s.catalogue.tensors) checksums.push_back(entry.checksum);
    checksums = sum_over_ranks(s.comm, std::move(checksums));
    const auto written = sum_over_ranks(s.comm, s.written);
    for (size_t i = 0; i < written.size(); ++i) {
        auto& entry = s.catalogue.tensors[i];
        entry.checksum = checksums[i];
        if (written[i] != static_cast<uint64_t>(entry.spec.size())) {
            throw InternalError(fmt::format("{}: {} of the {} elements of {} were written", s.path,
                                            written[i], entry.spec.size(), entry.spec.name));
        }
    }
}

bool TensorFileWriter::seal() noexcept {
    try {
        state_->hash = state_->sealed();
    } catch (...) {
        state_->failure = std::current_exception();
    }
    return !state_->failure;
}

std::string TensorFileWriter::conclude() {
    State& s = *state_;
    std::string hash = on_root(s.comm, [&] {
        if (s.failure) std::rethrow_exception(s.failure);
        return s.hash;
    });
    s.direct.reset();
    s.data.reset();
    return hash;
}

}  // namespace espalier::io
