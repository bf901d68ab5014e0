#include <fcntl.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>
#include <unordered_map>

#include "io/checksum.hpp"
#include "io/collective.hpp"
#include "io/damage.hpp"
#include "io/descriptor.hpp"
#include "io/hyperslab.hpp"
#include "io/positioned.hpp"
#include "io/system_error.hpp"
#include "io/tensor_catalogue.hpp"
#include "src/core/exact.hpp"

namespace espalier::io {
namespace {

constexpr int64_t piece_bytes = int64_t{4} << 20;

/// What was read of each tensor and answered for, by this rank.
struct Counted {
    explicit Counted(size_t tensors) : elements(tensors), checksums(tensors) {}
    std::vector<uint64_t> elements, checksums;
};

}  // namespace

struct TensorFileReader::State {
    State(std::string p, MPI_Comm c)
        : path(std::move(p)),
          comm(c),
          catalogue(deserialised(on_root(comm, [&] { return serialised(read_catalogue(path)); }))) {}

    void expect_format(const std::string& format) const;
    const hdf5::Value& attribute(const std::string& name) const;
    uint64_t checksum_of(const CatalogueEntry& entry, Range elements) const;
    void compare(const Counted& mine) const;

    std::string path;
    MPI_Comm comm;
    Catalogue catalogue;
    std::vector<TensorSpec> specs;
    std::vector<std::string> byte_names;
    std::unordered_map<std::string, size_t> index;
    std::optional<Descriptor> data;
    Counted counted{0};
};

void TensorFileReader::State::expect_format(const std::string& format) const {
    if (format.empty()) return;
    const auto found = catalogue.attributes.find("format");
    const auto* actual =
        found == catalogue.attributes.end() ? nullptr : std::get_if<std::string>(&found->second);
    ESPALIER_REQUIRE(actual && *actual == format, "{} is not a file of format {} but {}; give one that is",
                     path, format, actual ? "of format " + *actual : "has no format");
}

bool is_tensor_file(const std::string& path) {
    constexpr std::string_view signature("\x89HDF\r\n\x1a\n");
    std::array<char, signature.size()> first{};
    std::ifstream(path, std::ios::binary).read(first.data(), std::ssize(first));
    return std::string_view(first.data(), first.size()) == signature;
}

TensorFileReader::TensorFileReader(std::string path, MPI_Comm comm, const std::string& format)
    : state_(std::make_unique<State>(std::move(path), comm)) {
    State& s = *state_;
    s.expect_format(format);
    for (const auto& entry : s.catalogue.tensors) {
        s.index.emplace(entry.spec.name, s.specs.size());
        s.specs.push_back(entry.spec);
    }
    for (const auto& entry : s.catalogue.bytes) s.byte_names.push_back(entry.spec.name);
    s.counted = Counted(s.specs.size());
    on_all(comm, [&] {
        s.data.emplace(::open(s.path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!*s.data) fail_of_system("cannot read " + s.path, errno);
    });
}

TensorFileReader::~TensorFileReader() = default;
TensorFileReader::TensorFileReader(TensorFileReader&&) noexcept = default;

const std::string& TensorFileReader::path() const {
    return state_->path;
}
MPI_Comm TensorFileReader::comm() const {
    return state_->comm;
}
const std::vector<TensorSpec>& TensorFileReader::tensors() const {
    return state_->specs;
}
const std::vector<std::string>& TensorFileReader::byte_names() const {
    return state_->byte_names;
}

const TensorSpec* TensorFileReader::find(const std::string& name) const {
    const auto found = state_->index.find(name);
    return found == state_->index.end() ? nullptr : &state_->specs[found->second];
}

void TensorFileReader::read(const std::string& name, const Box& box, Tensor& out, const Box& counted) {
    State& s = *state_;
    const auto found = s.index.find(name);
    ESPALIER_REQUIRE(found != s.index.end(), "{} has no tensor {}", s.path, name);
    const CatalogueEntry& entry = s.catalogue.tensors[found->second];
    const TensorSpec& spec = entry.spec;
    expect_inside(whole(spec.shape), box, name);
    expect_dtype(out, spec.dtype, name.c_str());
    if (out.size() != box.size()) {
        throw InternalError(fmt::format("{}: {} elements for a box of {}", name, out.size(), box.size()));
    }
    const auto element = static_cast<int64_t>(size_of(spec.dtype));
    for_each_run(spec.shape, box, box, [&](int64_t global_index, int64_t box_index, int64_t count) {
        read_at(s.data->get(), entry.offset + global_index * element,
                {out.raw() + box_index * element, static_cast<size_t>(count * element)}, s.path);
    });
    if (counted.count.empty() || counted.size() == 0) return;
    s.counted.checksums[found->second] += checksum(spec.shape, box, out, counted);
    s.counted.elements[found->second] += static_cast<uint64_t>(counted.size());
}

uint64_t TensorFileReader::State::checksum_of(const CatalogueEntry& entry, Range elements) const {
    const auto element = static_cast<int64_t>(espalier::size_of(entry.spec.dtype));
    std::vector<std::byte> buffer;
    uint64_t sum = 0;
    for (int64_t i = elements.begin; i < elements.end;) {
        const int64_t n = std::min(elements.end - i, piece_bytes / element);
        buffer.resize(static_cast<size_t>(n * element));
        read_at(data->get(), entry.offset + i * element, buffer, path);
        sum += checksum_of_run(buffer.data(), static_cast<size_t>(element), i, n);
        i += n;
    }
    return sum;
}

std::string TensorFileReader::read_bytes(const std::string& name) const {
    const State& s = *state_;
    return on_root(s.comm, [&] {
        for (const auto& entry : s.catalogue.bytes) {
            if (entry.spec.name != name) continue;
            std::string content(static_cast<size_t>(entry.spec.size()), '\0');
            const auto bytes = std::as_writable_bytes(std::span(content));
            read_at(s.data->get(), entry.offset, bytes, s.path);
            if (checksum_of_run(bytes.data(), 1, 0, entry.spec.size()) != entry.checksum)
                fail_damaged("{} is damaged: {} does not match its checksum; use another copy", s.path, name);
            return content;
        }
        fail("{} has no {}", s.path, name);
    });
}

const hdf5::Value& TensorFileReader::State::attribute(const std::string& name) const {
    const auto found = catalogue.attributes.find(name);
    ESPALIER_REQUIRE(found != catalogue.attributes.end(), "{} has no attribute {}", path, name);
    return found->second;
}

std::string TensorFileReader::text(const std::string& attribute) const {
    const auto& value = state_->attribute(attribute);
    const auto* text = std::get_if<std::string>(&value);
    ESPALIER_REQUIRE(text, "the attribute {} of {} is a number, not text", attribute, path());
    return *text;
}

double TensorFileReader::number(const std::string& attribute) const {
    const auto& value = state_->attribute(attribute);
    if (const auto* integer = std::get_if<int64_t>(&value)) return static_cast<double>(*integer);
    const auto* real = std::get_if<double>(&value);
    ESPALIER_REQUIRE(real, "the attribute {} of {} is text, not a number", attribute, path());
    return *real;
}

int64_t TensorFileReader::integer(const std::string& attribute) const {
    const auto* value = std::get_if<int64_t>(&state_->attribute(attribute));
    ESPALIER_REQUIRE(value, "the attribute {} of {} is not an integer", attribute, path());
    return *value;
}

bool TensorFileReader::has_attribute(const std::string& attribute) const {
    return state_->catalogue.attributes.contains(attribute);
}

void TensorFileReader::State::compare(const Counted& mine) const {
    const auto elements = sum_over_ranks(comm, mine.elements);
    const auto checksums = sum_over_ranks(comm, mine.checksums);
    for (size_t i = 0; i < elements.size(); ++i) {
        const auto& entry = catalogue.tensors[i];
        const auto size = static_cast<uint64_t>(entry.spec.size());
        if (elements[i] > size) {
            throw InternalError(fmt::format("{}: {} elements counted of the {} of {}", path, elements[i],
                                            size, entry.spec.name));
        }
        if (elements[i] == size && checksums[i] != entry.checksum)
            fail_damaged(
                "{} is damaged: the tensor {} does not match its checksum; use another copy or make it again",
                path, entry.spec.name);
    }
}

void TensorFileReader::verify() {
    const Counted mine = std::exchange(state_->counted, Counted(state_->specs.size()));
    state_->compare(mine);
}

void TensorFileReader::verify_all() {
    State& s = *state_;
    Counted mine(s.specs.size());
    on_all(s.comm, [&] {
        for (size_t i = 0; i < s.specs.size(); ++i) {
            const auto& entry = s.catalogue.tensors[i];
            const Range elements = split_evenly(entry.spec.size(), ranks_in(s.comm), rank_in(s.comm));
            mine.elements[i] = static_cast<uint64_t>(elements.size());
            mine.checksums[i] = s.checksum_of(entry, elements);
        }
    });
    s.compare(mine);
    for (const auto& name : s.byte_names) read_bytes(name);
}

}  // namespace espalier::io
