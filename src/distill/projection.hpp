// The learned linear map that lifts a student's hidden states to the teacher's width, one for all pairs.
#pragma once

#include <optional>

#include "src/model/parameter_set.hpp"

namespace espalier::distill {

/// lifted = x W^T, W [teacher hidden, student hidden]. Every rank holds all of it.
class Projection {
public:
    /// W is zero until it is set.
    Projection(Context& ctx, int64_t teacher_hidden, int64_t student_hidden, DType dtype);

    const Tensor& weight() const { return weight_; }      ///< a view into parameters()
    const Tensor& gradient() const { return gradient_; }  ///< [teacher hidden, student hidden] f32
    model::ParameterSet& parameters() { return set_; }
    const model::ParameterSet& parameters() const { return set_; }
    Tensor& gradients() { return gradients_; }  ///< flat
    const Tensor& gradients() const { return gradients_; }

    /// Student channel j is the teacher's channel kept[j]: W takes it there and leaves the others zero.
    void follow(Context& ctx, const std::vector<int64_t>& kept);
    /// Independent normal elements of variance 1 / teacher hidden, from the seed: columns of length 1 and
    /// about at right angles, so that lifting keeps lengths and angles.
    void scatter(Context& ctx, uint64_t seed);

private:
    void set(Context& ctx, const Tensor& values);

    model::ParameterSet set_;
    Tensor gradients_, weight_, gradient_;
};

}  // namespace espalier::distill
