// Which HDF5 this is.
#pragma once

#include <string>

namespace espalier::io {

struct Hdf5Version {
    std::string built;  ///< of the headers
    std::string found;  ///< of the library that was loaded
    bool parallel;      ///< whether that one is built with MPI, as the headers' is
};
Hdf5Version hdf5_version();

}  // namespace espalier::io
