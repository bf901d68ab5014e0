#include <cublasLt.h>

#include <vector>

#include "src/core/bfloat16.hpp"
#include "tests/cuda_on_host/runtime.hpp"

struct cublasLtContext {};
struct cublasLtDescription {
    int32_t operation_a = CUBLAS_OP_N, operation_b = CUBLAS_OP_N;
    uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void* bias = nullptr;
    int32_t bias_type = -1;
};
/// Columns are `stride` elements apart.
struct cublasLtLayout {
    cudaDataType_t type;
    int64_t rows, columns, stride;
};
struct cublasLtPreference {
    unsigned alignment[4] = {256, 256, 256, 256};
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
};

namespace espalier::rig {
namespace {

float element(const void* data, int type, int64_t at) {
    if (type == CUDA_R_32F) return static_cast<const float*>(data)[at];
    return static_cast<float>(static_cast<const bfloat16*>(data)[at]);
}

/// op(a) [rows, columns] as rows of floats.
std::vector<float> unpack(const void* data, const cublasLtLayout& layout, int32_t operation) {
    std::vector<float> out;
    out.reserve(static_cast<size_t>(layout.rows * layout.columns));
    const bool turned = operation == CUBLAS_OP_T;
    for (int64_t i = 0; i < (turned ? layout.columns : layout.rows); ++i) {
        for (int64_t j = 0; j < (turned ? layout.rows : layout.columns); ++j) {
            out.push_back(element(data, layout.type, turned ? j + i * layout.stride : i + j * layout.stride));
        }
    }
    return out;
}

/// Sums in 16 parts, as hardware keeps partial sums too; added up in bf16 where the algorithm may.
float dot(const float* a, const float* b, int64_t n, int64_t b_stride, bool in_bf16) {
    constexpr int parts = 16;
    float sums[parts] = {};
    for (int64_t k = 0; k < n; ++k) sums[k % parts] += a[k] * b[k * b_stride];
    double sum = 0;
    for (const float part : sums) {
        sum += double{part};
        if (in_bf16) sum = static_cast<double>(static_cast<float>(bfloat16(static_cast<float>(sum))));
    }
    return static_cast<float>(sum);
}

/// Whether parts of a split depth may meet in the result's type, which then costs digits.
bool may_reduce_in_bf16(const cublasLtLayout& d, uint32_t reductions) {
    constexpr uint32_t in_output = CUBLASLT_REDUCTION_SCHEME_INPLACE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
    return d.type == CUDA_R_16BF && (reductions & in_output) != 0;
}

void multiply(const cublasLtDescription& what, float alpha, const void* a, const cublasLtLayout& a_layout,
              const void* b, const cublasLtLayout& b_layout, float beta, const void* c, void* d,
              const cublasLtLayout& d_layout, uint32_t reductions) {
    const bool in_bf16 = may_reduce_in_bf16(d_layout, reductions);
    const auto left = unpack(a, a_layout, what.operation_a), right = unpack(b, b_layout, what.operation_b);
    const int64_t m = d_layout.rows, n = d_layout.columns;
    const int64_t depth = static_cast<int64_t>(left.size()) / m;
    for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            const int64_t at = i + j * d_layout.stride;
            float value = alpha * dot(&left[static_cast<size_t>(i * depth)], &right[static_cast<size_t>(j)],
                                      depth, n, in_bf16);
            if (beta != 0) value += beta * element(c, d_layout.type, at);
            if (what.epilogue == CUBLASLT_EPILOGUE_BIAS) value += element(what.bias, what.bias_type, i);
            if (d_layout.type == CUDA_R_32F) {
                static_cast<float*>(d)[at] = value;
            } else {
                static_cast<bfloat16*>(d)[at] = bfloat16(value);
            }
        }
    }
}

bool fits(const cublasLtDescription& what, const cublasLtLayout& a, const cublasLtLayout& b,
          const cublasLtLayout& d) {
    const bool a_turned = what.operation_a == CUBLAS_OP_T, b_turned = what.operation_b == CUBLAS_OP_T;
    const bool types = a.type == b.type && (d.type == a.type || d.type == CUDA_R_32F) &&
                       (what.epilogue != CUBLASLT_EPILOGUE_BIAS || (what.bias && what.bias_type == d.type));
    return types && (a_turned ? a.columns : a.rows) == d.rows &&
           (b_turned ? b.rows : b.columns) == d.columns &&
           (a_turned ? a.rows : a.columns) == (b_turned ? b.columns : b.rows) && a.stride >= a.rows &&
           b.stride >= b.rows && d.stride >= d.rows && a.rows > 0 && a.columns > 0 && d.columns > 0;
}

}  // namespace
}  // namespace espalier::rig

size_t cublasLtGetVersion() {
    return CUBLAS_VERSION;
}
const char* cublasLtGetStatusName(cublasStatus_t code) {
    return code == CUBLAS_STATUS_SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_INVALID_VALUE";
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    *handle = new cublasLtContext;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* out, cublasComputeType_t, cudaDataType_t) {
    *out = new cublasLtDescription;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
    delete description;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t which, const void* value,
                                              size_t bytes) {
    const auto set = [&](auto& field) {
        if (bytes != sizeof field) return CUBLAS_STATUS_INVALID_VALUE;
        std::memcpy(&field, value, bytes);
        return CUBLAS_STATUS_SUCCESS;
    };
    switch (which) {
        case CUBLASLT_MATMUL_DESC_TRANSA:
            return set(description->operation_a);
        case CUBLASLT_MATMUL_DESC_TRANSB:
            return set(description->operation_b);
        case CUBLASLT_MATMUL_DESC_EPILOGUE:
            return set(description->epilogue);
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
            return set(description->bias);
        case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
            return set(description->bias_type);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* out, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t stride) {
    *out = new cublasLtLayout{type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), stride};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* out) {
    *out = new cublasLtPreference;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t which,
                                                    const void* value, size_t bytes) {
    if (which == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) return CUBLAS_STATUS_SUCCESS;
    uint32_t& attribute = which == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK
                              ? preference->reductions
                              : preference->alignment[which - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES];
    if (bytes != sizeof attribute) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&attribute, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
    *found = espalier::rig::fits(*description, *a, *b, *d) ? 1 : 0;
    std::memcpy(results->algo.alignment, preference->alignment, sizeof preference->alignment);
    results->algo.reductions = preference->reductions;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void*, size_t, cudaStream_t stream) {
    const auto aligned = [&](const void* p, int which) {
        return reinterpret_cast<uintptr_t>(p) % algorithm->alignment[which] == 0;
    };
    if (!espalier::rig::fits(*description, *a_layout, *b_layout, *d_layout) || !aligned(a, 0) ||
        !aligned(b, 1) || !aligned(c, 2) || !aligned(d, 3)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    espalier::rig::submit(
        stream, [=, what = *description, al = *a_layout, bl = *b_layout, dl = *d_layout,
                 factor = *static_cast<const float*>(alpha), kept = *static_cast<const float*>(beta),
                 reductions = algorithm->reductions] {
            espalier::rig::multiply(what, factor, a, al, b, bl, kept, c, d, dl, reductions);
        });
    return CUBLAS_STATUS_SUCCESS;
}
