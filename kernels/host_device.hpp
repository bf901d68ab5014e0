// One text for a CPU's loops and a GPU's kernels.
#pragma once

/// Of a function that both call. On a CPU it is always inlined: loops under `omp simd` stay scalar otherwise.
#ifdef __CUDACC__
#define ESPALIER_HOST_DEVICE __host__ __device__ inline
#else
#define ESPALIER_HOST_DEVICE [[gnu::always_inline]] inline
#endif
