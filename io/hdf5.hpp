// HDF5's C API with handles that close themselves and failures that throw. A file is written through it by
// one rank alone, and read by any; see docs/adr/0001 for how the others reach the data.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "src/core/dtype.hpp"
#include "src/core/error.hpp"

namespace espalier::io::hdf5 {

/// A call of HDF5 that failed, with HDF5's own innermost description. Whoever knows the file says whose fault
/// it is.
class Error : public InternalError {
public:
    explicit Error(const std::string& what, int system_error = 0)
        : InternalError(what), system_error_(system_error) {}
    /// errno of the system call that failed below HDF5, ENOMEM where it found no memory; 0: neither.
    int system_error() const { return system_error_; }

private:
    int system_error_;
};

[[noreturn]] void throw_error(const char* call);

template <class T>
T checked(T result, const char* call) {
    if (result < 0) throw_error(call);
    return result;
}

#define CHECK_HDF5(call) ::espalier::io::hdf5::checked((call), #call)

/// Whether a file could not be closed. HDF5 keeps it, and crashes over it when the process ends in the usual
/// way: leave without exit handlers.
bool keeps_a_broken_file();
/// What a closing function gave, which is noted.
herr_t closed(herr_t result);

/// One identifier of HDF5 and the function that closes it.
template <herr_t (*Close)(hid_t)>
class Handle {
public:
    Handle() = default;
    explicit Handle(hid_t id) : id_(id) {}
    ~Handle() { reset(); }
    Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
    Handle& operator=(Handle&& other) noexcept {
        if (this != &other) {
            reset();
            id_ = std::exchange(other.id_, -1);
        }
        return *this;
    }

    operator hid_t() const { return id_; }
    /// Closes now and throws if that fails, which for a file means that it is not whole.
    void close() {
        if (id_ >= 0) checked(closed(Close(std::exchange(id_, -1))), "close");
    }

private:
    void reset() noexcept {
        if (id_ >= 0) closed(Close(id_));
        id_ = -1;
    }
    hid_t id_ = -1;
};

using File = Handle<H5Fclose>;
using Object = Handle<H5Oclose>;  // a group, a dataset, or what has no place in our files
using Group = Handle<H5Gclose>;
using Dataset = Handle<H5Dclose>;
using Dataspace = Handle<H5Sclose>;
using Datatype = Handle<H5Tclose>;
using Attribute = Handle<H5Aclose>;
using Properties = Handle<H5Pclose>;

/// Text, integer or floating-point number: what an attribute of ours can hold.
using Value = std::variant<std::string, int64_t, double>;

/// A new file whose metadata is checksummed throughout; large datasets begin at round offsets.
File create_file(const std::string& path);
File open_file(const std::string& path);
/// The group at `path` below `file` ("a/b"; "" is the root), made where it does not exist.
Group require_group(const File& file, const std::string& path);
/// For create_dataset: contiguous, with its place in the file fixed at once and nothing written there.
Properties placed_at_once();
Dataset create_dataset(const Group& group, const std::string& name, DType dtype,
                       const std::vector<hsize_t>& shape, const Properties& creation = placed_at_once());

/// How elements are stored: little-endian; bf16 as a float of 1 + 8 + 7 bits, which HDF5 tools print and h5py
/// reads.
Datatype type_of(DType dtype);
/// Nothing for a type that is none of ours.
std::optional<DType> dtype_of_type(hid_t type);

void write_attribute(hid_t object, const char* name, const Value& value);
void write_attribute(hid_t object, const char* name, uint64_t number);
void write_attribute(hid_t object, const char* name, const std::vector<std::string>& texts);
/// Replaces a number that write_attribute made.
void rewrite_attribute(hid_t object, const char* name, uint64_t number);
/// Throw Error where there is none or it is of another kind.
Value read_attribute(hid_t object, const char* name);
uint64_t read_unsigned(hid_t object, const char* name);
std::vector<std::string> read_texts(hid_t object, const char* name);
std::vector<std::string> attribute_names(hid_t object);  ///< in no order

}  // namespace espalier::io::hdf5
