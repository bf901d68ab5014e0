// The libraries that this process runs with, beside those that it was built against.
#pragma once

#include <nlohmann/json.hpp>

namespace espalier::jobs {

/// {"hdf5": {"built", "found", "parallel"}}, and where the build has CUDA "cuda_runtime", "cublaslt" and
/// "nccl" as {"built", "found"}, and "cuda_driver" as {"found"}, the newest CUDA that the driver runs, where
/// there is one.
nlohmann::ordered_json libraries();

}  // namespace espalier::jobs
