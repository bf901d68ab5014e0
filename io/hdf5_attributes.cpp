// Texts are stored with a fixed length: those of variable length would lie in the one part of an HDF5 file
// that has no checksum.
#include <algorithm>
#include <cstring>

#include "io/hdf5.hpp"

namespace espalier::io::hdf5 {
namespace {

// No text of ours comes near it; a damaged length must not become an allocation.
constexpr size_t longest_text = size_t{64} << 20;

Datatype text_type(size_t size) {
    Datatype type(CHECK_HDF5(H5Tcopy(H5T_C_S1)));
    CHECK_HDF5(H5Tset_size(type, std::max<size_t>(size, 1)));
    CHECK_HDF5(H5Tset_strpad(type, H5T_STR_NULLPAD));
    CHECK_HDF5(H5Tset_cset(type, H5T_CSET_UTF8));
    return type;
}

void write_raw(hid_t object, const char* name, hid_t type, hid_t space, const void* data) {
    const Attribute attribute(CHECK_HDF5(H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT)));
    CHECK_HDF5(H5Awrite(attribute, type, data));
}

/// An attribute that was found, and what it says of itself.
struct Found {
    Found(hid_t object, const char* name)
        : attribute(CHECK_HDF5(H5Aopen(object, name, H5P_DEFAULT))),
          type(CHECK_HDF5(H5Aget_type(attribute))),
          kind(CHECK_HDF5(H5Tget_class(type))),
          size(H5Tget_size(type)) {
        const Dataspace space(CHECK_HDF5(H5Aget_space(attribute)));
        count = CHECK_HDF5(H5Sget_simple_extent_npoints(space));
        if (kind == H5T_STRING && CHECK_HDF5(H5Tis_variable_str(type)) > 0) reject(name);
        if (size == 0 || size > longest_text || count > static_cast<hssize_t>(longest_text / size))
            reject(name);
    }

    [[noreturn]] static void reject(const char* name) {
        throw Error(fmt::format("HDF5: the attribute {} is not of the kind that espalier writes", name));
    }

    Attribute attribute;
    Datatype type;
    H5T_class_t kind;
    size_t size;
    hssize_t count = 0;
};

std::vector<std::string> texts_of(const Found& found, const char* name) {
    if (found.kind != H5T_STRING) Found::reject(name);
    std::string all(found.size * static_cast<size_t>(found.count), '\0');
    CHECK_HDF5(H5Aread(found.attribute, found.type, all.data()));
    std::vector<std::string> texts;
    for (size_t begin = 0; begin < all.size(); begin += found.size) {
        std::string text = all.substr(begin, found.size);
        text.resize(std::strlen(text.c_str()));
        texts.push_back(std::move(text));
    }
    return texts;
}

template <class T>
T number_of(const Found& found, hid_t memory_type) {
    T number{};
    CHECK_HDF5(H5Aread(found.attribute, memory_type, &number));
    return number;
}

}  // namespace

void write_attribute(hid_t object, const char* name, const Value& value) {
    const Dataspace space(CHECK_HDF5(H5Screate(H5S_SCALAR)));
    if (const auto* text = std::get_if<std::string>(&value)) {
        // HDF5 reads as many bytes as the type has, which is never none.
        write_raw(object, name, text_type(text->size()), space, text->c_str());
    } else if (const auto* integer = std::get_if<int64_t>(&value)) {
        write_raw(object, name, H5T_STD_I64LE, space, integer);
    } else {
        write_raw(object, name, H5T_IEEE_F64LE, space, &std::get<double>(value));
    }
}

void write_attribute(hid_t object, const char* name, uint64_t number) {
    const Dataspace space(CHECK_HDF5(H5Screate(H5S_SCALAR)));
    write_raw(object, name, H5T_STD_U64LE, space, &number);
}

void write_attribute(hid_t object, const char* name, const std::vector<std::string>& texts) {
    size_t longest = 1;
    for (const auto& text : texts) longest = std::max(longest, text.size());
    std::string all;
    for (const auto& text : texts) all.append(text).append(longest - text.size(), '\0');
    const hsize_t count = texts.size();
    const Dataspace space(CHECK_HDF5(H5Screate_simple(1, &count, nullptr)));
    write_raw(object, name, text_type(longest), space, all.data());
}

void rewrite_attribute(hid_t object, const char* name, uint64_t number) {
    const Attribute attribute(CHECK_HDF5(H5Aopen(object, name, H5P_DEFAULT)));
    CHECK_HDF5(H5Awrite(attribute, H5T_STD_U64LE, &number));
}

Value read_attribute(hid_t object, const char* name) {
    const Found found(object, name);
    if (found.count != 1) Found::reject(name);
    if (found.kind == H5T_STRING) return texts_of(found, name).front();
    if (found.kind == H5T_INTEGER) return number_of<int64_t>(found, H5T_NATIVE_INT64);
    if (found.kind == H5T_FLOAT) return number_of<double>(found, H5T_NATIVE_DOUBLE);
    Found::reject(name);
}

uint64_t read_unsigned(hid_t object, const char* name) {
    const Found found(object, name);
    if (found.count != 1 || found.kind != H5T_INTEGER) Found::reject(name);
    return number_of<uint64_t>(found, H5T_NATIVE_UINT64);
}

std::vector<std::string> read_texts(hid_t object, const char* name) {
    return texts_of(Found(object, name), name);
}

std::vector<std::string> attribute_names(hid_t object) {
    std::vector<std::string> names;
    const auto append = [](hid_t, const char* name, const H5A_info_t*, void* out) -> herr_t {
        static_cast<std::vector<std::string>*>(out)->emplace_back(name);
        return 0;
    };
    // Not H5_ITER_INC: see children_of in io/tensor_catalogue.cpp.
    CHECK_HDF5(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, append, &names));
    return names;
}

}  // namespace espalier::io::hdf5
