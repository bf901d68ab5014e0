#include "jobs/session/libraries.hpp"

#include "io/hdf5_version.hpp"
#include "kernels/cuda/versions.hpp"
#include "src/comm/nccl.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier::jobs {
namespace {

nlohmann::ordered_json entry(const std::string& built, const std::string& found) {
    return {{"built", built}, {"found", found}};
}

}  // namespace

nlohmann::ordered_json libraries() {
    const auto hdf5 = io::hdf5_version();
    nlohmann::ordered_json out{{"hdf5", entry(hdf5.built, hdf5.found)}};
    out["hdf5"]["parallel"] = hdf5.parallel;
    if constexpr (has_cuda) {
        const cuda::Versions found = cuda::versions();
        const comm::NcclFacts nccl = comm::nccl_facts();
        if (!found.driver.empty()) out["cuda_driver"] = {{"found", found.driver}};
        out["cuda_runtime"] = entry(found.runtime.built, found.runtime.found);
        out["cublaslt"] = entry(found.cublaslt.built, found.cublaslt.found);
        out["nccl"] = entry(nccl.built, nccl.version);
    }
    return out;
}

}  // namespace espalier::jobs
