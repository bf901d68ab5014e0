// Errors of the CUDA runtime. For the sources of the CUDA back end alone.
#pragma once

#include <cuda_runtime.h>

namespace espalier {

/// Throws InternalError with the runtime's own words, and the call, when a call did not succeed.
void check_cuda(cudaError_t code, const char* call);
#define CHECK_CUDA(call) ::espalier::check_cuda((call), #call)

}  // namespace espalier
