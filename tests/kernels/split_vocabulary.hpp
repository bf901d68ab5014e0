// Teacher's and student's logits cut by columns as ranks hold them, and the phases run part by part with the
// ranks' reductions between them.
#pragma once

#include "kernels/divergence.hpp"
#include "tests/support/compare.hpp"

namespace espalier::test {

enum class Side { teacher, student };
enum class Where { apart, in_place };

struct Objective {
    LossWeights weights;
    std::vector<int32_t> labels;
    Values row_weights;
};

/// Where each part begins, and the end of the last: one part, or three uneven ones of which one is empty.
inline std::vector<int64_t> whole_vocabulary(int64_t vocab) {
    return {0, vocab};
}
inline std::vector<int64_t> uneven_vocabulary(int64_t vocab) {
    return {0, (2 * vocab + 2) / 3, (2 * vocab + 2) / 3, vocab};
}

/// f32 [rows, end - begin]: columns [begin, end) of values [rows, n].
Tensor columns(Context& ctx, const Values& values, int64_t rows, int64_t n, int64_t begin, int64_t end);

class SplitVocabulary {
public:
    /// teacher, student [rows, bounds.back()]; no teacher where it is empty.
    SplitVocabulary(Context& ctx, std::vector<int64_t> bounds, const Values& teacher, const Values& student,
                    int64_t rows);

    Tensor log_sum_exp(Side side, float tau);
    Tensor loss(Divergence kind, float tau);
    /// [rows, vocab], put together from the parts.
    Values gradient(const Objective& objective, DType dtype, Where where);
    struct GradientAndLoss {
        Values gradient, loss;
    };
    /// By kl_gradient.
    GradientAndLoss kl_gradient_and_loss(const Objective& objective, DType dtype, Where where);
    Values label_logits(const std::vector<int32_t>& labels);
    /// The winner's id of every row.
    Values argmax();

private:
    Tensor sums(Divergence kind, float tau);
    Tensor loss_of(Divergence kind, const Tensor& sums);
    /// Without sums.
    LossInputs inputs(const Objective& objective);
    /// d_logits of all parts, each made by make(inputs, d).
    template <class Make>
    Values of_parts(LossInputs in, DType dtype, Where where, Make make);

    Context& ctx_;
    std::vector<int64_t> bounds_;
    int64_t rows_;
    std::vector<Tensor> teacher_;  ///< [part]
    std::vector<Tensor> student_;
};

}  // namespace espalier::test
