// The distillation objective over a whole vocabulary, straight from its definition.
#pragma once

#include "kernels/divergence.hpp"
#include "kernels/reference/values.hpp"

namespace espalier::reference {

/// softmax(z / tau) of one row z [n].
Values softmax(const double* z, int64_t n, double tau);

/// D of two distributions over the same entries, and dD / ds of each entry.
double divergence_of(Divergence kind, const Values& t, const Values& s);
Values divergence_slopes(Divergence kind, const Values& t, const Values& s);

/// sum a b.
double dot(const Values& a, const Values& b);

/// log sum exp(z / tau) of every row of z [rows, n].
Values log_sum_exp(const Values& z, int64_t n, double tau);

/// [rows] = D(softmax(teacher / tau), softmax(student / tau)); teacher, student [rows, n].
Values divergence(Divergence kind, const Values& teacher, const Values& student, int64_t n, double tau);

/// [rows] = -log softmax(student)[label], 0 where label < 0.
Values cross_entropy(const Values& student, const std::vector<int32_t>& labels, int64_t n);

/// d/dstudent of sum over rows of row_weight * (divergence_weight * D + label_weight * cross entropy).
Values logit_gradient(const LossWeights& weights, const Values& teacher, const Values& student,
                      const std::vector<int32_t>& labels, const Values& row_weights);

}  // namespace espalier::reference
