#include "io/hdf5_version.hpp"

#include <fmt/core.h>

#include "io/hdf5.hpp"

// No function tells whether a library is built with MPI; this one is in such a build and in no other. Weak,
// so that the program starts all the same.
#ifdef H5_HAVE_PARALLEL
#pragma weak H5Pset_fapl_mpio
#endif

namespace espalier::io {

Hdf5Version hdf5_version() {
    unsigned major = 0, minor = 0, release = 0;
    CHECK_HDF5(H5get_libversion(&major, &minor, &release));
#ifdef H5_HAVE_PARALLEL
    const bool parallel = &H5Pset_fapl_mpio != nullptr;
#else
    const bool parallel = false;
#endif
    return {fmt::format("{}.{}.{}", H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE),
            fmt::format("{}.{}.{}", major, minor, release), parallel};
}

}  // namespace espalier::io
