// The distillation objective over the teacher's k most likely tokens and one bucket for the others.
#pragma once

#include "kernels/reference/divergence.hpp"

namespace espalier::reference {

/// [rows] = D over the buckets of softmax(teacher / tau) and softmax(student / tau); teacher, student [rows,
/// n].
Values bucket_divergence(Divergence kind, const Values& teacher, const Values& student, int64_t n, double tau,
                         int64_t k);

/// logit_gradient with that D.
Values bucket_logit_gradient(const LossWeights& weights, int64_t k, const Values& teacher,
                             const Values& student, const std::vector<int32_t>& labels,
                             const Values& row_weights);

}  // namespace espalier::reference
