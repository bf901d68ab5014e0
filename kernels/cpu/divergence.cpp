#include "kernels/cpu/divergence.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/element.hpp"
#include "kernels/cpu/lanes.hpp"
#include "kernels/cpu/vector_math.hpp"
#include "kernels/cpu/wide.hpp"
#include "kernels/divergence_terms.hpp"
#include "kernels/vocabulary_part.hpp"

namespace espalier::cpu {
namespace {

using namespace detail;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Columns that are read twice from the first-level cache and summed in f32 before they join the doubles.
constexpr int64_t chunk = 2048;

/// From logits to logarithms of probabilities, for one row.
struct Temperature {
    float inverse_tau;
    float lse_t;
    float lse_s;

    float log_teacher(float z) const { return z * inverse_tau - lse_t; }
    float log_student(float z) const { return z * inverse_tau - lse_s; }
};

Temperature temperature_of(const Sides& sides, float tau, int64_t row) {
    return {1.0f / tau, sides.lse_t.data<float>()[row], sides.lse_s.data<float>()[row]};
}

float largest(const float* values, int64_t count) {
    float max = -infinity;
#pragma omp simd reduction(max : max)
    for (int64_t j = 0; j < count; ++j) max = values[j] > max ? values[j] : max;
    if (max > std::numeric_limits<float>::lowest()) return max;
    // At which parts of a reduction may begin, as clang's do: whether it is one of the values is to be seen.
    const bool there = std::find(values, values + count, max) != values + count;
    return there ? max : -infinity;
}

/// Max and sum of exponentials in one pass over memory: the sum is rescaled where a chunk raises the max
/// (Milakov and Gimelshein 2018). part_of(begin, count) gives a chunk of the row; -inf counts for nothing.
template <class PartOf>
void row_statistics(int64_t n, float inverse_tau, PartOf part_of, float* stats) {
    float max = -infinity;
    double sum = 0;
    for (int64_t begin = 0; begin < n; begin += chunk) {
        const int64_t count = std::min(chunk, n - begin);
        const float* const part = part_of(begin, count);
        const float part_max = largest(part, count) * inverse_tau;
        if (part_max > max) {
            sum *= std::exp(double{max} - double{part_max});
            max = part_max;
        }
        const float shift = max > -infinity ? max : 0.0f;
        sum += double{wide([=]() ESPALIER_WIDE {
            Lanes sums(0.0f);
            in_lanes(count, [&](int64_t j, int64_t lane) ESPALIER_WIDE {
                sums[lane] += fast_exp_flushed(part[j] * inverse_tau - shift);
            });
            return sums.sum();
        })};
    }
    stats[0] = max;
    stats[1] = static_cast<float>(sum);
}

/// A row's columns of given tokens, one after another.
void find_columns(const int32_t* ids, int64_t k, int64_t first_id, int64_t n, std::vector<int64_t>& columns) {
    columns.clear();
    for (int64_t b = 0; b < k; ++b) {
        const int64_t column = column_of(ids[b], first_id, n);
        if (column >= 0) columns.push_back(column);
    }
    std::sort(columns.begin(), columns.end());
}

/// A row's sums, of chunks that were summed in f32.
class RowSums {
public:
    RowSums& operator+=(const Terms& part) {
        first_ += double{part.first};
        second_ += double{part.second};
        third_ += double{part.third};
        return *this;
    }
    void store(float* sums) const {
        sums[0] = static_cast<float>(first_);
        sums[1] = static_cast<float>(second_);
        sums[2] = static_cast<float>(third_);
    }

private:
    double first_ = 0, second_ = 0, third_ = 0;
};

template <Divergence kind>
void row_sums(const float* teacher, const float* student, int64_t n, Temperature at, float* sums) {
    RowSums total;
    for (int64_t begin = 0; begin < n; begin += chunk) {
        total += wide([=, count = std::min(chunk, n - begin)]() ESPALIER_WIDE {
            Lanes first(0.0f), second(0.0f), third(0.0f);
            in_lanes(count, [&](int64_t j, int64_t lane) ESPALIER_WIDE {
                const Terms term = terms<kind, VectorMath>(at.log_teacher(teacher[begin + j]),
                                                           at.log_student(student[begin + j]));
                first[lane] += term.first;
                second[lane] += term.second;
                third[lane] += term.third;
            });
            return Terms{first.sum(), second.sum(), third.sum()};
        });
    }
    total.store(sums);
}

/// What a row's label adds to the gradient: factor * (softmax(student) - one at the label).
struct LabelTerm {
    float factor = 0;
    int64_t column = -1;  ///< in this rank's part; -1 where another rank holds the label
};

/// What a row's gradient is made of.
struct RowInputs {
    const float* teacher;  ///< without a divergence the student's, which is as good as any
    const float* student;
    int64_t n;
    float weight;
    LabelTerm label;
    float lse_1;
};

RowInputs row_inputs(const LossWeights& weights, const LossInputs& in, int64_t row) {
    const Tensor& student = in.sides.student;
    const Tensor& teacher = weights.divergence ? in.sides.teacher : student;
    const int64_t n = student.dim(1);
    const int32_t label = weights.label_weight != 0 ? in.labels.data<int32_t>()[row] : -1;
    RowInputs of_row{teacher.data<float>() + row * n,
                     student.data<float>() + row * n,
                     n,
                     in.row_weights.data<float>()[row],
                     {},
                     0};
    if (label >= 0) of_row.label = {of_row.weight * weights.label_weight, column_of(label, in.first_id, n)};
    if (of_row.label.factor != 0) of_row.lse_1 = in.lse_1.data<float>()[row];
    return of_row;
}

/// write() fills `out` with element(teacher, student); then the label's factor is subtracted at its column.
template <class T, class Element, class Write>
void with_label(const RowInputs& in, T* out, Element element, Write write) {
    const int64_t column = in.label.column;
    const bool here = column >= 0;
    float at_label = 0;
    if (here) {  // before `out`, which may be `student`, is written
        // Whoever has a label has logits. NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
        at_label = element(in.teacher[column], in.student[column]) - in.label.factor;
    }
    write();
    if (here) store(out[column], at_label);
}

template <class T>
void cross_entropy_row(const RowInputs& in, T* out) {
    const auto element = [factor = in.label.factor, lse = in.lse_1](float, float s)
                             ESPALIER_WIDE { return factor * fast_exp_flushed(s - lse); };
    with_label(in, out, element, [&] {
        wide([=, n = in.n, student = in.student]() ESPALIER_WIDE {
#pragma omp simd
            for (int64_t j = 0; j < n; ++j)  // NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
                store(out[j], element(0.0f, student[j]));
        });
    });
}

/// Calls f with an element of the gradient, a function of both sides' logits. factor: of the divergence's
/// gradient with respect to z / tau.
template <Divergence kind, class F>
void with_element(const RowInputs& in, Temperature at, RowConstants row, float factor, F f) {
    const auto of_divergence = [=](float t, float s) ESPALIER_WIDE {
        return factor * gradient<kind, VectorMath>(at.log_teacher(t), at.log_student(s), row);
    };
    if (in.label.factor == 0) return f(of_divergence);
    f([=, of_label = in.label.factor, lse = in.lse_1](float t, float s)
          ESPALIER_WIDE { return of_divergence(t, s) + of_label * fast_exp_flushed(s - lse); });
}

template <Divergence kind, class T>
void divergence_row(const RowInputs& in, Temperature at, const float* sums, float factor, T* out) {
    with_element<kind>(in, at, row_constants<kind>(sums), factor, [&](auto element) {
        with_label(in, out, element, [&] {
            wide([=, n = in.n, teacher = in.teacher, student = in.student]() ESPALIER_WIDE {
#pragma omp simd
                for (int64_t j = 0; j < n; ++j) store(out[j], element(teacher[j], student[j]));
            });
        });
    });
}

/// The gradient, and in the same read the sums.
template <class T>
void kl_row(const RowInputs& in, Temperature at, float factor, T* out, float* sums) {
    constexpr auto kind = Divergence::kl;
    RowSums total;
    with_element<kind>(in, at, {}, factor, [&](auto element) {
        with_label(in, out, element, [&] {
            for (int64_t begin = 0; begin < in.n; begin += chunk) {
                const float *const teacher = in.teacher + begin, *const student = in.student + begin;
                T* const d = out + begin;
                const int64_t count = std::min(chunk, in.n - begin);
                const float sum = wide([=]() ESPALIER_WIDE {
                    Lanes lanes(0.0f);
                    in_lanes(count, [&](int64_t j, int64_t lane) ESPALIER_WIDE {
                        const float t = teacher[j], s = student[j];
                        lanes[lane] += terms<kind, VectorMath>(at.log_teacher(t), at.log_student(s)).first;
                        store(d[j], element(t, s));
                    });
                    return lanes.sum();
                });
                total += {sum};
            }
        });
    });
    total.store(sums);
}

}  // namespace

void softmax_statistics(Context& ctx, const Tensor& logits, float tau, Tensor& stats) {
    const int64_t rows = logits.dim(0), n = logits.dim(1);
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t i = 0; i < rows; ++i) {
        const float* const z = logits.data<float>() + i * n;
        row_statistics(
            n, 1.0f / tau, [=](int64_t begin, int64_t) { return z + begin; }, stats.data<float>() + 2 * i);
    }
}

void tail_statistics(Context& ctx, const Tensor& logits, const Tensor& ids, int64_t first_id, float tau,
                     Tensor& stats) {
    const int64_t rows = logits.dim(0), n = logits.dim(1), k = ids.dim(1);
#pragma omp parallel num_threads(ctx.threads())
    {
        std::vector<int64_t> columns;
        std::array<float, chunk> part{};
#pragma omp for
        for (int64_t i = 0; i < rows; ++i) {
            const float* const z = logits.data<float>() + i * n;
            find_columns(ids.data<int32_t>() + i * k, k, first_id, n, columns);
            auto next = columns.begin();
            const auto others = [&](int64_t begin, int64_t count) {
                std::copy_n(z + begin, count, part.begin());
                for (; next != columns.end() && *next < begin + count; ++next)
                    part[static_cast<size_t>(*next - begin)] = -infinity;
                return part.data();
            };
            row_statistics(n, 1.0f / tau, others, stats.data<float>() + 2 * i);
        }
    }
}

void softmax_combine(Context& ctx, const Tensor& all, Tensor& lse) {
    const int64_t parts = all.dim(0), rows = all.dim(1);
    const float* const stats = all.data<float>();
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t i = 0; i < rows; ++i) {
        double max = -std::numeric_limits<double>::infinity(), sum = 0;
        for (int64_t part = 0; part < parts; ++part) {
            max = std::max(max, double{stats[2 * (part * rows + i)]});
        }
        for (int64_t part = 0; part < parts; ++part) {
            const float* const s = stats + 2 * (part * rows + i);
            if (s[1] != 0) sum += double{s[1]} * std::exp(double{s[0]} - max);
        }
        lse.data<float>()[i] = static_cast<float>(max + std::log(sum));
    }
}

void label_logits(Context&, const Tensor& logits, const Tensor& labels, int64_t first_id, Tensor& labelled) {
    const int64_t rows = logits.dim(0), n = logits.dim(1);
    for (int64_t i = 0; i < rows; ++i) {
        const int64_t column = column_of(labels.data<int32_t>()[i], first_id, n);
        labelled.data<float>()[i] = column >= 0 ? logits.data<float>()[i * n + column] : 0.0f;
    }
}

void divergence_sums(Context& ctx, Divergence kind, const Sides& sides, float tau, Tensor& sums) {
    const int64_t rows = sides.student.dim(0), n = sides.student.dim(1);
    with_divergence(kind, [&]<Divergence constant>() {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t i = 0; i < rows; ++i) {
            const Temperature at = temperature_of(sides, tau, i);
            row_sums<constant>(sides.teacher.data<float>() + i * n, sides.student.data<float>() + i * n, n,
                               at, sums.data<float>() + i * divergence_sum_count);
        }
    });
}

void divergence_loss(Context&, Divergence kind, const Tensor& sums, Tensor& loss) {
    const int64_t rows = loss.dim(0);
    with_divergence(kind, [&]<Divergence constant>() {
        for (int64_t i = 0; i < rows; ++i) {
            loss.data<float>()[i] = row_loss<constant>(sums.data<float>() + i * divergence_sum_count);
        }
    });
}

void logit_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, Tensor& d_logits) {
    const int64_t rows = d_logits.dim(0), n = d_logits.dim(1);
    const auto row = [&]<class T>(int64_t i, T* out) {
        const RowInputs of_row = row_inputs(weights, in, i);
        if (of_row.weight == 0 || (!weights.divergence && of_row.label.factor == 0)) {
            std::fill_n(out, n, T(0.0f));
        } else if (!weights.divergence) {
            cross_entropy_row(of_row, out);
        } else {
            const Temperature at = temperature_of(in.sides, weights.tau, i);
            const float factor = of_row.weight * weights.divergence_weight / weights.tau;
            with_divergence(*weights.divergence, [&]<Divergence kind>() {
                divergence_row<kind>(of_row, at, in.sums.data<float>() + i * divergence_sum_count, factor,
                                     out);
            });
        }
    };
    visit_float(d_logits.dtype(), [&]<class T>(T) {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t i = 0; i < rows; ++i) row(i, d_logits.data<T>() + i * n);
    });
}

void kl_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, Tensor& d_logits,
                 Tensor& sums) {
    const int64_t rows = d_logits.dim(0), n = d_logits.dim(1);
    const auto row = [&]<class T>(int64_t i, T* out) {
        const RowInputs of_row = row_inputs(weights, in, i);
        float* const of_sums = sums.data<float>() + i * divergence_sum_count;
        if (of_row.weight == 0) {
            std::fill_n(out, n, T(0.0f));
            std::fill_n(of_sums, divergence_sum_count, 0.0f);
        } else {
            kl_row(of_row, temperature_of(in.sides, weights.tau, i),
                   of_row.weight * weights.divergence_weight / weights.tau, out, of_sums);
        }
    };
    visit_float(d_logits.dtype(), [&]<class T>(T) {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t i = 0; i < rows; ++i) row(i, d_logits.data<T>() + i * n);
    });
}

void row_argmax(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& best) {
    const int64_t rows = logits.dim(0), n = logits.dim(1);
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t i = 0; i < rows; ++i) {
        const float* const z = logits.data<float>() + i * n;
        const float max = largest(z, n);
        const int64_t column = std::find(z, z + n, max) - z;  // n for a row of NaN
        best.data<float>()[2 * i] = max;
        best.data<float>()[2 * i + 1] = column < n ? static_cast<float>(first_id + column) : -1.0f;
    }
}

}  // namespace espalier::cpu
