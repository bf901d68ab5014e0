// The libraries behind the kernels of a GPU, by version. Free of CUDA's headers; where has_cuda, versions.cpp
// is behind it.
#pragma once

#include <string>

namespace espalier::cuda {

/// As the build saw a library, and as this process finds it.
struct Version {
    std::string built, found;
};
struct Versions {
    std::string driver;  ///< the newest CUDA that it runs; empty where there is no driver
    Version runtime, cublaslt;
};

/// Needs neither driver nor device.
Versions versions();

}  // namespace espalier::cuda
