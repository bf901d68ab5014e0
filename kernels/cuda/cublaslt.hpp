// cuBLASLt's matmul, with the algorithm of each kind of product found once and kept in the Context.
#pragma once

#include <cublasLt.h>

#include <compare>
#include <map>

#include "kernels/product.hpp"

namespace espalier::cuda {

/// Throws InternalError with the library's name for the error, and the call.
void check_cublas(cublasStatus_t code, const char* call);
#define CHECK_CUBLAS(call) ::espalier::cuda::check_cublas((call), #call)

class CublasLt {
public:
    explicit CublasLt(Context& ctx);
    ~CublasLt();
    CublasLt(const CublasLt&) = delete;
    CublasLt& operator=(const CublasLt&) = delete;

    /// c = or += a b + bias [columns], as the product says; bias may be empty and has c's dtype. a and b of
    /// one dtype, c of that or f32. Sums in f32, f32 factors in full (no TF32). No size is 0. Asynchronous on
    /// the context's stream.
    void run(const Product& product, const Tensor& a, const Tensor& b, const Tensor& bias, Tensor& c);

private:
    struct Key {
        Product product;
        DType factors, result;
        bool bias;
        unsigned alignment_a, alignment_b, alignment_c;
        auto operator<=>(const Key&) const = default;
    };

    Context& ctx_;
    cublasLtHandle_t handle_ = nullptr;
    Tensor workspace_;
    std::map<Key, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace espalier::cuda
