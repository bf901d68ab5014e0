// What a file of ours holds and where: rank 0 reads it with HDF5, the other ranks get a copy.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/hdf5.hpp"
#include "io/tensor_file.hpp"

namespace espalier::io {

struct CatalogueEntry {
    TensorSpec spec;
    int64_t offset = 0;     ///< of the first byte in the file; 0 for a tensor without elements
    uint64_t checksum = 0;  ///< of the whole tensor
};

struct Catalogue {
    std::vector<CatalogueEntry> tensors;
    std::vector<CatalogueEntry> bytes;  ///< of write_bytes: u8 [size]
    std::map<std::string, hdf5::Value> attributes;

    /// Over every tensor's name, shape, dtype and checksum, in order: a line of text each.
    std::string content_sha256() const;
    /// Over the rest: axes, bytes and root attributes but for the two hashes.
    std::string metadata_sha256() const;
};

/// Checks HDF5's structure, both hashes and that every tensor lies inside the file; DamagedFile, or UserError
/// where the system cannot read it, naming the file.
Catalogue read_catalogue(const std::string& path);

std::string serialised(const Catalogue& catalogue);
Catalogue deserialised(const std::string& text);

}  // namespace espalier::io
