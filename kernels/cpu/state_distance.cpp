#include "kernels/cpu/state_distance.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/element.hpp"

namespace espalier::cpu {
namespace {

/// Elements of a row that are summed in f32 before they join the doubles: few, for 1 - cos shows every
/// rounding of its sums, whether they are made in vectors or one after another.
constexpr int64_t run_length = 128;

struct RowSums {
    double ss = 0, tt = 0, st = 0;
    double differences = 0;  // sum (s - t)^2
};

template <class S, class T>
RowSums row_sums(const S* s, const T* t, int64_t n) {
    RowSums total;
    for (int64_t begin = 0; begin < n; begin += run_length) {
        const int64_t end = std::min(n, begin + run_length);
        float ss = 0, tt = 0, st = 0, differences = 0;
#pragma omp simd reduction(+ : ss, tt, st, differences)
        for (int64_t j = begin; j < end; ++j) {
            const float u = static_cast<float>(s[j]), v = static_cast<float>(t[j]);
            ss += u * u;
            tt += v * v;
            st += u * v;
            differences += (u - v) * (u - v);
        }
        total.ss += double{ss};
        total.tt += double{tt};
        total.st += double{st};
        total.differences += double{differences};
    }
    return total;
}

/// A row's distance, and its gradient as of_difference (s - t) + of_student s.
struct Row {
    double distance, of_difference, of_student;
};

Row row_of(StateDistance distance, const RowSums& sums, int64_t n) {
    if (distance == StateDistance::mse)
        return {sums.differences / static_cast<double>(n), 2.0 / static_cast<double>(n), 0};
    if (sums.ss <= 0 || sums.tt <= 0) {
        const double none = 0.0 * sums.st;  // NaN stays
        return {1.0 + none, none, none};
    }
    const double product = std::sqrt(sums.ss) * std::sqrt(sums.tt), cosine = sums.st / product;
    return {1.0 - cosine, 1.0 / product, cosine / sums.ss - 1.0 / product};
}

template <class S, class T, class D>
void rows_of(Context& ctx, StateDistance distance, const Tensor& student, const Tensor& teacher,
             Tensor& distances, Tensor& d_student) {
    const int64_t rows = student.dim(0), n = student.dim(1);
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t i = 0; i < rows; ++i) {
        const S* const s = student.data<S>() + i * n;
        const T* const t = teacher.data<T>() + i * n;
        D* const d = d_student.data<D>() + i * n;
        const Row row = row_of(distance, row_sums(s, t, n), n);
        distances.data<float>()[i] = static_cast<float>(row.distance);
        const auto a = static_cast<float>(row.of_difference), b = static_cast<float>(row.of_student);
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) {
            const float u = static_cast<float>(s[j]), v = static_cast<float>(t[j]);
            store(d[j], a * (u - v) + b * u);
        }
    }
}

}  // namespace

void state_distance(Context& ctx, StateDistance distance, const Tensor& student, const Tensor& teacher,
                    Tensor& distances, Tensor& d_student) {
    visit_float(student.dtype(), [&]<class S>(S) {
        visit_float(teacher.dtype(), [&]<class T>(T) {
            visit_float(d_student.dtype(), [&]<class D>(D) {
                rows_of<S, T, D>(ctx, distance, student, teacher, distances, d_student);
            });
        });
    });
}

}  // namespace espalier::cpu
