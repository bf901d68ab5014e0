// Whether this build has the CUDA back end (ESPALIER_CUDA of the build).
#pragma once

namespace espalier {

inline constexpr bool has_cuda = ESPALIER_HAS_CUDA;

}  // namespace espalier
