#include "io/hdf5.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>

namespace espalier::io::hdf5 {
namespace {

// A gap before a dataset is at most one alignment, so only datasets much larger than that are aligned.
constexpr hsize_t large = hsize_t{16} << 20, alignment = hsize_t{1} << 20;
// Metadata is laid down in blocks of this size, so that opening a file of many tensors reads few places.
constexpr hsize_t metadata_block = hsize_t{64} << 10;

struct Cause {
    std::string description;
    int system_error = 0;
};

/// HDF5 has no other place for it: its drivers write "..., errno = 5, error message = ...".
int system_error_in(const std::string& description) {
    constexpr std::string_view field = "errno = ";
    const size_t at = description.rfind(field);
    return at == std::string::npos ? 0 : std::atoi(description.c_str() + at + field.size());
}

herr_t keep_innermost(unsigned, const H5E_error2_t* error, void* out) {
    auto& cause = *static_cast<Cause*>(out);
    cause.description = error->desc ? error->desc : "";
    cause.system_error = error->min_num == H5E_NOSPACE ? ENOMEM : system_error_in(cause.description);
    cause.description += fmt::format(" ({})", error->func_name);
    return 1;  // upward: the first is the innermost
}

std::atomic<bool> broken = false;

// HDF5 prints every failure to stderr by itself, also those that are caught and explained.
void silence() {
    static const bool done = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
    static_cast<void>(done);
}

Properties file_access() {
    Properties access(CHECK_HDF5(H5Pcreate(H5P_FILE_ACCESS)));
    CHECK_HDF5(H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST));
    CHECK_HDF5(H5Pset_alignment(access, large, alignment));
    CHECK_HDF5(H5Pset_meta_block_size(access, metadata_block));
#if H5_VERSION_GE(1, 10, 7)
    // Files appear whole, by renaming, so there is nothing to lock; and Lustre and NFS often cannot.
    CHECK_HDF5(H5Pset_file_locking(access, false, true));
#endif
    return access;
}

Datatype bf16_type() {
    Datatype type(CHECK_HDF5(H5Tcopy(H5T_IEEE_F32LE)));
    // In this order: a field may not leave the precision, nor the precision the size.
    CHECK_HDF5(H5Tset_fields(type, 15, 7, 8, 0, 7));
    CHECK_HDF5(H5Tset_precision(type, 16));
    CHECK_HDF5(H5Tset_ebias(type, 127));
    CHECK_HDF5(H5Tset_size(type, 2));
    return type;
}

}  // namespace

bool keeps_a_broken_file() {
    return broken;
}

herr_t closed(herr_t result) {
    if (result < 0) broken = true;
    return result;
}

void throw_error(const char* call) {
    Cause cause;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &cause);
    const std::string_view name = std::string_view(call).substr(0, std::string_view(call).find('('));
    throw Error(fmt::format("HDF5: {} failed: {}", name, cause.description), cause.system_error);
}

File create_file(const std::string& path) {
    silence();
    Properties creation(CHECK_HDF5(H5Pcreate(H5P_FILE_CREATE)));
    CHECK_HDF5(H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED));
    return File(CHECK_HDF5(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, file_access())));
}

File open_file(const std::string& path) {
    silence();
    return File(CHECK_HDF5(H5Fopen(path.c_str(), H5F_ACC_RDONLY, file_access())));
}

Group require_group(const File& file, const std::string& path) {
    Group group(CHECK_HDF5(H5Gopen2(file, "/", H5P_DEFAULT)));
    Properties creation(CHECK_HDF5(H5Pcreate(H5P_GROUP_CREATE)));
    CHECK_HDF5(H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED));
    for (size_t begin = 0; begin < path.size();) {
        const size_t end = std::min(path.find('/', begin), path.size());
        const std::string name = path.substr(begin, end - begin);
        const bool exists = CHECK_HDF5(H5Lexists(group, name.c_str(), H5P_DEFAULT)) > 0;
        group =
            Group(exists ? CHECK_HDF5(H5Gopen2(group, name.c_str(), H5P_DEFAULT))
                         : CHECK_HDF5(H5Gcreate2(group, name.c_str(), H5P_DEFAULT, creation, H5P_DEFAULT)));
        begin = end + 1;
    }
    return group;
}

Properties placed_at_once() {
    Properties creation(CHECK_HDF5(H5Pcreate(H5P_DATASET_CREATE)));
    CHECK_HDF5(H5Pset_layout(creation, H5D_CONTIGUOUS));
    CHECK_HDF5(H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY));
    CHECK_HDF5(H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER));
    return creation;
}

Dataset create_dataset(const Group& group, const std::string& name, DType dtype,
                       const std::vector<hsize_t>& shape, const Properties& creation) {
    const Dataspace space(
        CHECK_HDF5(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr)));
    return Dataset(CHECK_HDF5(
        H5Dcreate2(group, name.c_str(), type_of(dtype), space, H5P_DEFAULT, creation, H5P_DEFAULT)));
}

Datatype type_of(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return Datatype(CHECK_HDF5(H5Tcopy(H5T_IEEE_F32LE)));
        case DType::f64:
            return Datatype(CHECK_HDF5(H5Tcopy(H5T_IEEE_F64LE)));
        case DType::i32:
            return Datatype(CHECK_HDF5(H5Tcopy(H5T_STD_I32LE)));
        case DType::u8:
            return Datatype(CHECK_HDF5(H5Tcopy(H5T_STD_U8LE)));
        case DType::bf16:
            return bf16_type();
    }
    throw InternalError("unknown dtype");
}

std::optional<DType> dtype_of_type(hid_t type) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f64, DType::i32, DType::u8}) {
        if (CHECK_HDF5(H5Tequal(type, type_of(dtype))) > 0) return dtype;
    }
    return std::nullopt;
}

}  // namespace espalier::io::hdf5
