#include "kernels/cuda/versions.hpp"

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <fmt/core.h>

#include "src/core/cuda_check.hpp"

namespace espalier::cuda {
namespace {

/// 13020 is CUDA 13.2.
std::string cuda_version(int number) {
    return number > 0 ? fmt::format("{}.{}", number / 1000, number / 10 % 100) : "";
}

/// 130100 is 13.1.0.
std::string cublas_version(size_t number) {
    return fmt::format("{}.{}.{}", number / 10000, number / 100 % 100, number % 100);
}

}  // namespace

Versions versions() {
    int runtime = 0, driver = 0;
    CHECK_CUDA(cudaRuntimeGetVersion(&runtime));
    CHECK_CUDA(cudaDriverGetVersion(&driver));
    return {cuda_version(driver),
            {cuda_version(CUDART_VERSION), cuda_version(runtime)},
            {cublas_version(CUBLAS_VERSION), cublas_version(cublasLtGetVersion())}};
}

}  // namespace espalier::cuda
