#include "kernels/cuda/cublaslt.hpp"

#include <cstdint>

// cuBLASLt counts columns first: a row-major c = a b is its c^T = b^T a^T, so that b comes first and every
// matrix is described by its rows as columns.

namespace espalier::cuda {
namespace {

constexpr size_t workspace_bytes = size_t{32} << 20;  // what NVIDIA recommends for Hopper

cudaDataType_t type_of(DType dtype) {
    return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

/// What the library may assume of an address: a power of two, at most what cudaMalloc gives.
unsigned alignment_of(const Tensor& x) {
    const auto address = reinterpret_cast<uintptr_t>(x.raw()) | 256;
    return static_cast<unsigned>(address & -address);
}

/// How an algorithm that splits the depth may add its parts up: in f32, in place only where c is f32.
uint32_t reductions_of(DType c) {
    constexpr uint32_t in_f32 = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    return c == DType::f32 ? in_f32 | CUBLASLT_REDUCTION_SCHEME_INPLACE : in_f32;
}

/// One handle of the library: made by create(handle*), given back by destroy.
template <class Handle, cublasStatus_t (*destroy)(Handle)>
class Owned {
public:
    template <class Create>
    explicit Owned(Create create) {
        CHECK_CUBLAS(create(&handle_));
    }
    ~Owned() { destroy(handle_); }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    Handle get() const { return handle_; }

private:
    Handle handle_{};
};
using Description = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

/// A row-major matrix of `width` columns.
auto layout(DType dtype, int64_t height, int64_t width) {
    return [=](cublasLtMatrixLayout_t* out) {
        return cublasLtMatrixLayoutCreate(out, type_of(dtype), static_cast<uint64_t>(width),
                                          static_cast<uint64_t>(height), width);
    };
}

template <class T>
void set(const Description& description, cublasLtMatmulDescAttributes_t attribute, T value) {
    CHECK_CUBLAS(cublasLtMatmulDescSetAttribute(description.get(), attribute, &value, sizeof value));
}
template <class T>
void set(const Preference& preference, cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    CHECK_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value));
}

int32_t operation(Order order) {
    return order == Order::transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
}

}  // namespace

void check_cublas(cublasStatus_t code, const char* call) {
    if (code == CUBLAS_STATUS_SUCCESS) return;
    throw InternalError(fmt::format("{} failed: {}", call, cublasLtGetStatusName(code)));
}

CublasLt::CublasLt(Context& ctx)
    : ctx_(ctx), workspace_(ctx.empty({static_cast<int64_t>(workspace_bytes)}, DType::u8)) {
    CHECK_CUBLAS(cublasLtCreate(&handle_));
}

CublasLt::~CublasLt() {
    cublasLtDestroy(handle_);
}

void CublasLt::run(const Product& p, const Tensor& a, const Tensor& b, const Tensor& bias, Tensor& c) {
    const Description what(
        [](auto* out) { return cublasLtMatmulDescCreate(out, CUBLAS_COMPUTE_32F, CUDA_R_32F); });
    set(what, CUBLASLT_MATMUL_DESC_TRANSA, operation(p.b_order));
    set(what, CUBLASLT_MATMUL_DESC_TRANSB, operation(p.a_order));
    if (bias) {
        expect_dtype(bias, c.dtype(), "bias");
        set(what, CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<uint32_t>(CUBLASLT_EPILOGUE_BIAS));
        set(what, CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias.raw()));
        set(what, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(type_of(bias.dtype())));
    }
    const bool a_turned = p.a_order == Order::transposed, b_turned = p.b_order == Order::transposed;
    const Layout first(layout(b.dtype(), b_turned ? p.columns : p.depth, b_turned ? p.depth : p.columns));
    const Layout second(layout(a.dtype(), a_turned ? p.depth : p.rows, a_turned ? p.rows : p.depth));
    const Layout result(layout(c.dtype(), p.rows, p.columns));

    const Key key{p, a.dtype(), c.dtype(), bool(bias), alignment_of(b), alignment_of(a), alignment_of(c)};
    auto found = algorithms_.find(key);
    if (found == algorithms_.end()) {
        const Preference preference([](auto* out) { return cublasLtMatmulPreferenceCreate(out); });
        set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(workspace_bytes));
        set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions_of(c.dtype()));
        set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.alignment_first);
        set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.alignment_second);
        set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.alignment_result);
        set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.alignment_result);
        cublasLtMatmulHeuristicResult_t best{};
        int count = 0;
        CHECK_CUBLAS(cublasLtMatmulAlgoGetHeuristic(handle_, what.get(), first.get(), second.get(),
                                                    result.get(), result.get(), preference.get(), 1, &best,
                                                    &count));
        if (count == 0) {
            throw InternalError(fmt::format("cuBLASLt has no algorithm for {} x {} x {} in {}", p.rows,
                                            p.columns, p.depth, to_string(a.dtype())));
        }
        if (algorithms_.size() == most_algorithms) algorithms_.clear();
        found = algorithms_.emplace(key, best.algo).first;
    }
    const float one = 1.0f, beta = p.store == Store::accumulate ? 1.0f : 0.0f;
    CHECK_CUBLAS(cublasLtMatmul(handle_, what.get(), &one, b.raw(), first.get(), a.raw(), second.get(), &beta,
                                c.raw(), result.get(), c.raw(), result.get(), &found->second,
                                workspace_.raw(), workspace_bytes, ctx_.stream()));
}

}  // namespace espalier::cuda
