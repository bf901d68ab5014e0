#include "io/tensor_catalogue.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "io/damage.hpp"
#include "io/sha256.hpp"
#include "io/system_error.hpp"

namespace espalier::io {
namespace {

using nlohmann::json;

// Our groups nest two or three deep; a damaged file may nest for ever.
constexpr int deepest_group = 16;

struct Child {
    std::string name;
    bool soft = false;
    int64_t created = 0;  // its place among the links of its group
};

std::vector<Child> children_of(const hdf5::Group& group) {
    std::vector<Child> children;
    const auto append = [](hid_t, const char* name, const H5L_info_t* info, void* out) -> herr_t {
        static_cast<std::vector<Child>*>(out)->push_back({name, info->type != H5L_TYPE_HARD, info->corder});
        return 0;
    };
    // Not H5_ITER_INC: of a damaged group HDF5 1.10 then frees a table of links that it has filled only in
    // part.
    CHECK_HDF5(H5Literate(group, H5_INDEX_CRT_ORDER, H5_ITER_NATIVE, nullptr, append, &children));
    // The native order of small groups is that of their header's messages.
    std::ranges::stable_sort(children, {}, &Child::created);
    return children;
}

Shape shape_of(const hdf5::Dataspace& space, const std::string& name) {
    const int rank = CHECK_HDF5(H5Sget_simple_extent_ndims(space));
    std::vector<hsize_t> dims(static_cast<size_t>(rank));
    CHECK_HDF5(H5Sget_simple_extent_dims(space, dims.data(), nullptr));
    int64_t bytes = 8;  // of the widest element
    for (const hsize_t n : dims) {
        ESPALIER_REQUIRE(!__builtin_mul_overflow(bytes, n, &bytes), "{} has more elements than can be", name);
    }
    ESPALIER_REQUIRE(rank > 0, "{} has no axes", name);
    return {dims.begin(), dims.end()};
}

struct Found {
    CatalogueEntry entry;
    uint64_t index = 0;  ///< place among the tensors
};

Found read_dataset(const hdf5::Dataset& dataset, std::string name) {
    Found found;
    CatalogueEntry& entry = found.entry;
    entry.spec.name = std::move(name);
    const hdf5::Dataspace space(CHECK_HDF5(H5Dget_space(dataset)));
    entry.spec.shape = shape_of(space, entry.spec.name);

    const hdf5::Datatype type(CHECK_HDF5(H5Dget_type(dataset)));
    const auto dtype = hdf5::dtype_of_type(type);
    const hdf5::Properties creation(CHECK_HDF5(H5Dget_create_plist(dataset)));
    ESPALIER_REQUIRE(
        dtype && H5Pget_layout(creation) == H5D_CONTIGUOUS && H5Pget_external_count(creation) == 0,
        "{} is not stored as espalier stores a tensor", entry.spec.name);
    entry.spec.dtype = *dtype;
    entry.checksum = hdf5::read_unsigned(dataset, "checksum");
    if (*dtype != DType::u8) found.index = hdf5::read_unsigned(dataset, "index");
    if (CHECK_HDF5(H5Aexists(dataset, "axes")) > 0) entry.spec.axes = hdf5::read_texts(dataset, "axes");

    const auto bytes = static_cast<hsize_t>(entry.spec.size()) * size_of(*dtype);
    const haddr_t offset = H5Dget_offset(dataset);
    ESPALIER_REQUIRE(bytes == 0 || (offset != HADDR_UNDEF && H5Dget_storage_size(dataset) == bytes),
                     "{} has no space in the file", entry.spec.name);
    entry.offset = bytes == 0 ? 0 : static_cast<int64_t>(offset);
    return found;
}

void collect(const hdf5::Group& group, const std::string& path, int depth, std::vector<Found>& found) {
    ESPALIER_REQUIRE(depth <= deepest_group, "its groups nest more than {} deep", deepest_group);
    for (const auto& [name, soft, created] : children_of(group)) {
        ESPALIER_REQUIRE(!soft, "{}{} is a link to elsewhere", path, name);
        const hdf5::Object object(CHECK_HDF5(H5Oopen(group, name.c_str(), H5P_DEFAULT)));
        const H5I_type_t kind = H5Iget_type(object);
        if (kind == H5I_GROUP) {
            const hdf5::Group child(CHECK_HDF5(H5Gopen2(group, name.c_str(), H5P_DEFAULT)));
            collect(child, path + name + "/", depth + 1, found);
        } else if (kind == H5I_DATASET) {
            const hdf5::Dataset dataset(CHECK_HDF5(H5Dopen2(group, name.c_str(), H5P_DEFAULT)));
            found.push_back(read_dataset(dataset, path + name));
        }
    }
}

Catalogue read_structure(const std::string& path) {
    const hdf5::File file = hdf5::open_file(path);
    const hdf5::Group root(CHECK_HDF5(H5Gopen2(file, "/", H5P_DEFAULT)));
    Catalogue catalogue;
    for (const auto& name : hdf5::attribute_names(root)) {
        catalogue.attributes[name] = hdf5::read_attribute(root, name.c_str());
    }
    std::vector<Found> found;
    collect(root, "", 0, found);
    std::ranges::stable_sort(found, {}, &Found::index);
    for (auto& [entry, index] : found) {
        (entry.spec.dtype == DType::u8 ? catalogue.bytes : catalogue.tensors).push_back(std::move(entry));
    }
    return catalogue;
}

void check(const Catalogue& catalogue, int64_t file_size) {
    const auto attribute = [&](const char* name) -> const std::string* {
        const auto found = catalogue.attributes.find(name);
        return found == catalogue.attributes.end() ? nullptr : std::get_if<std::string>(&found->second);
    };
    const auto* content = attribute("content_sha256");
    const auto* metadata = attribute("metadata_sha256");
    ESPALIER_REQUIRE(content && metadata, "it lacks the attribute content_sha256 or metadata_sha256");
    ESPALIER_REQUIRE(*content == catalogue.content_sha256(),
                     "its list of tensors does not match content_sha256");
    ESPALIER_REQUIRE(*metadata == catalogue.metadata_sha256(), "its attributes do not match metadata_sha256");
    for (const auto* entries : {&catalogue.tensors, &catalogue.bytes}) {
        for (const auto& entry : *entries) {
            const int64_t bytes = entry.spec.size() * static_cast<int64_t>(size_of(entry.spec.dtype));
            ESPALIER_REQUIRE(bytes <= file_size && entry.offset <= file_size - bytes,
                             "it ends before the tensor {} does", entry.spec.name);
        }
    }
}

std::string line(const CatalogueEntry& entry) {
    return fmt::format("{} {} {} {:016x}\n", entry.spec.name, to_string(entry.spec.shape),
                       to_string(entry.spec.dtype), entry.checksum);
}

json to_json(const std::vector<CatalogueEntry>& entries) {
    json out = json::array();
    for (const auto& [spec, offset, checksum] : entries) {
        out.push_back({spec.name, spec.shape, static_cast<int>(spec.dtype), spec.axes, offset, checksum});
    }
    return out;
}

std::vector<CatalogueEntry> from_json(const json& in) {
    std::vector<CatalogueEntry> entries;
    for (const auto& e : in)
        entries.push_back({{e[0], e[1], static_cast<DType>(e[2].get<int>()), e[3]}, e[4], e[5]});
    return entries;
}

}  // namespace

std::string Catalogue::content_sha256() const {
    Sha256 hash;
    for (const auto& entry : tensors) hash.update(line(entry));
    return hash.hex();
}

std::string Catalogue::metadata_sha256() const {
    Sha256 hash;
    for (const auto& entry : tensors) {
        for (const auto& axis : entry.spec.axes) hash.update(axis + "\n");
    }
    for (const auto& entry : bytes) hash.update(line(entry));
    for (const auto& attribute : attributes) {
        if (attribute.first == "content_sha256" || attribute.first == "metadata_sha256") continue;
        std::visit([&](const auto& v) { hash.update(fmt::format("{} {}\n", attribute.first, v)); },
                   attribute.second);
    }
    return hash.hex();
}

Catalogue read_catalogue(const std::string& path) {
    struct stat status = {};
    if (::stat(path.c_str(), &status) != 0) fail_of_system("cannot read " + path, errno);
    ESPALIER_REQUIRE(S_ISREG(status.st_mode), "cannot read {}: it is not a regular file", path);
    try {
        Catalogue catalogue = read_structure(path);
        check(catalogue, status.st_size);
        return catalogue;
    } catch (const hdf5::Error& error) {
        if (error.system_error() != 0) fail_of_system("cannot read " + path, error.system_error());
        fail_damaged(
            "{} is damaged, cut short or not one of espalier's HDF5 files ({}); use another copy or make it "
            "again",
            path, error.what());
    } catch (const UserError& error) {
        fail_damaged("{} is damaged or not one of espalier's files: {}; use another copy or make it again",
                     path, error.what());
    }
}

std::string serialised(const Catalogue& catalogue) {
    json attributes = json::object();
    for (const auto& attribute : catalogue.attributes) {
        std::visit([&](const auto& v) { attributes[attribute.first] = v; }, attribute.second);
    }
    std::string text;
    json::to_cbor(json::array({to_json(catalogue.tensors), to_json(catalogue.bytes), attributes}), text);
    return text;
}

Catalogue deserialised(const std::string& text) {
    const json in = json::from_cbor(text);
    Catalogue catalogue{from_json(in[0]), from_json(in[1]), {}};
    for (const auto& [name, value] : in[2].items()) {
        auto& out = catalogue.attributes[name];
        if (value.is_string())
            out = value.get<std::string>();
        else if (value.is_number_integer())
            out = value.get<int64_t>();
        else
            out = value.get<double>();
    }
    return catalogue;
}

}  // namespace espalier::io
