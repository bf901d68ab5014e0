// The distillation objective over a whole vocabulary, straight from its definition.
#pragma once

#include "kernels/divergence.hpp"

namespace espalier::reference {

using Values = std::vector<double>;

/// log sum exp(z / tau) of every row of z [rows, n].
Values log_sum_exp(const Values& z, int64_t n, double tau);

/// [rows] = D(softmax(teacher / tau), softmax(student / tau)); teacher, student [rows, n].
Values divergence(Divergence kind, const Values& teacher, const Values& student, int64_t n, double tau);

/// [rows] = -log softmax(student)[label], 0 where label < 0.
Values cross_entropy(const Values& student, const std::vector<int32_t>& labels, int64_t n);

/// d/dstudent of sum over rows of row_weight * (divergence_weight * D + label_weight * cross entropy).
Values logit_gradient(const LogitGradient& what, const Values& teacher, const Values& student,
                      const std::vector<int32_t>& labels, const Values& row_weights);

/// The ids [k] of a row's largest logits, of equal ones the lower first.
std::vector<int64_t> top_k(const double* z, int64_t n, int64_t k);

/// D over the teacher's k most likely tokens and one bucket for the others, and logit_gradient with it.
Values top_k_divergence(Divergence kind, const Values& teacher, const Values& student, int64_t n, double tau,
                        int64_t k);
Values top_k_logit_gradient(const LogitGradient& what, int64_t k, const Values& teacher,
                            const Values& student, const std::vector<int32_t>& labels,
                            const Values& row_weights);

}  // namespace espalier::reference
