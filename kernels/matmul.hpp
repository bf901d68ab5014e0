// Matrix products of linear layers: y = x W^T + b, and its two gradients.
#pragma once

#include "src/core/context.hpp"

namespace espalier {

/// What happens to the values that the result already holds.
enum class Store { overwrite, accumulate };

/// y [m, n] = (or += by `store`) x [m, k] w [n, k]^T + bias [n].
///   x, w, bias  f32 or bf16, all the same; bias may be empty
///   y           dtype of x, or f32
/// Sums in f32. y aliases nothing. Asynchronous on ctx.stream() on a GPU, done on return on a CPU.
void matmul(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y,
            Store store = Store::overwrite);

/// dx [m, k] = (or +=) dy [m, n] w [n, k].   dy, w of one dtype; dx of that dtype or f32.
void matmul_backward_input(Context& ctx, const Tensor& dy, const Tensor& w, Tensor& dx,
                           Store store = Store::overwrite);

/// dw [n, k] += dy [m, n]^T x [m, k].   dy, x of one dtype; dw f32.
void matmul_backward_weight(Context& ctx, const Tensor& dy, const Tensor& x, Tensor& dw);

/// dbias [n] f32 += the column sums of dy [m, n].
void bias_backward(Context& ctx, const Tensor& dy, Tensor& dbias);

/// Whether this processor or device multiplies in `dtype` natively; elsewhere bf16 products are converted
/// to f32 block by block, with the same rounding of inputs and result.
bool has_native_matmul(const Context& ctx, DType dtype);

/// Whether a device multiplies in `dtype` so fast (in AMX tiles) that reading and writing what a product is
/// made of takes longer: then a result that is needed again is cheaper computed again than kept outside the
/// caches.
bool multiplies_faster_than_memory(Device device, DType dtype);

}  // namespace espalier
