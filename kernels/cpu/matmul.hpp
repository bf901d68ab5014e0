// Matrix products on the CPU; contracts and checks are those of kernels/matmul.hpp.
#pragma once

#include "kernels/matmul.hpp"

namespace espalier::cpu {

void matmul(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y, Store store);
void matmul_backward_input(Context& ctx, const Tensor& dy, const Tensor& w, Tensor& dx, Store store);
void matmul_backward_weight(Context& ctx, const Tensor& dy, const Tensor& x, Tensor& dw);
void bias_backward(Context& ctx, const Tensor& dy, Tensor& dbias);
bool has_native_matmul(DType dtype);
bool has_tiles(DType dtype);

}  // namespace espalier::cpu
