// Single kernels, ready to be timed, with the bytes and FLOPs that they cannot do without: what the
// benchmarks of CPUs and of GPUs share.
#pragma once

#include <functional>

#include "kernels/activation.hpp"
#include "kernels/attention.hpp"
#include "kernels/divergence.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::benchmarks {

/// The tensors live in `work`, which may be called again and again.
struct Operation {
    std::function<void()> work;
    double bytes = 0;   ///< read and written at least
    double flops = 0;   ///< of products; of causal attention those that are visible
    double logits = 0;  ///< of a divergence, one model's
};

enum class Pass { forward, backward };

Operation norm(Context& ctx, Pass pass, test::RowCase c, DType dtype);
Operation activation(Context& ctx, Pass pass, Activation kind, test::RowCase c, DType dtype);
Operation add(Context& ctx, test::RowCase c, DType dtype);
Operation add_norm(Context& ctx, test::RowCase c, DType dtype);
Operation row_cosines(Context& ctx, test::RowCase c, DType dtype);
/// Of c.size() weights in `dtype`, with an f32 master where that is another.
Operation adamw(Context& ctx, test::RowCase c, DType dtype);
Operation square_sum(Context& ctx, test::RowCase c);
Operation qk_norm(Context& ctx, Pass pass, test::HeadCase c, DType dtype);
Operation rotation(Context& ctx, test::RotaryCase c, DType dtype);
Operation embedding(Context& ctx, Pass pass, test::EmbeddingCase c, DType dtype);
Operation moments(Context& ctx, test::MomentsCase c, DType dtype);
/// Of all columns.
Operation swiglu_with_moments(Context& ctx, test::MomentsCase c, DType dtype);
/// Who computes attention: whom dispatch chooses, or on a GPU always the own kernels.
enum class By { dispatch, own_kernels };
/// `document`: tokens of each of a sequence's documents.
Operation attention(Context& ctx, Pass pass, const AttentionShape& shape, int64_t document, DType dtype,
                    By by = By::dispatch);
/// y [rows, out] = x [rows, in] w^T, y in f32 as logits are.
Operation logits(Context& ctx, int64_t rows, int64_t in, int64_t out, DType dtype);

/// What a divergence between teacher and student does with their logits.
enum class Phase { statistics, argmax, sums, gradient, all };
Operation divergence(Context& ctx, Phase phase, Divergence kind, test::VocabularyCase c);

}  // namespace espalier::benchmarks
