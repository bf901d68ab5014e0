// cuBLASLt's matmul, with the algorithm of each kind of product found once and kept in the Context.
#pragma once

#include <cublasLt.h>

#include <compare>
#include <map>

#include "kernels/product.hpp"

namespace espalier::cuda {

using detail::Order;
using detail::Product;

/// Throws InternalError with the library's name for the error, and the call.
void check_cublas(cublasStatus_t code, const char* call);
#define CHECK_CUBLAS(call) ::espalier::cuda::check_cublas((call), #call)

class CublasLt {
public:
    /// Algorithms that are kept; the next one begins anew. More than a step has: samples of all lengths, as
    /// multiple-choice questions are, would have them grow for ever.
    static constexpr size_t most_algorithms = 1024;

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
        unsigned alignment_first, alignment_second, alignment_result;  // as the library takes them: b, a, c
        auto operator<=>(const Key&) const = default;
    };

    Context& ctx_;
    cublasLtHandle_t handle_ = nullptr;
    Tensor workspace_;
    std::map<Key, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace espalier::cuda
