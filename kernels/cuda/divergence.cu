// Losses over a vocabulary. A block has a row of logits (128256 f32 are 501 KiB): each phase reads it once,
// the student's and the teacher's, and the last, for kl the second, writes the gradient; 8192 tokens are
// 4.2 GB a pass, at least 1.25 ms on an H100. Two blocks of 512 threads a multiprocessor keep enough reads in
// flight.
#include "kernels/cuda/divergence.hpp"

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/divergence_terms.hpp"
#include "kernels/vocabulary_part.hpp"

namespace espalier::cuda {
namespace {

using namespace detail;

constexpr int threads = 512;
constexpr int run = 16;  // entries that a thread reads at once and sums in f32 before they join the double

/// Max and sum of exponentials in one pass: a thread rescales its sum where its max rises (Milakov and
/// Gimelshein 2018). counts(j): whether column j is part of them.
template <class Counts>
__device__ void statistics_of_row(const float* z, int64_t n, float inverse_tau, Counts counts, float* stats) {
    float max = -INFINITY;
    double sum = 0;
    for (int64_t begin = threadIdx.x; begin < n; begin += run * threads) {
        float scaled[run], part_max = -INFINITY, part = 0;
        ESPALIER_UNROLL
        for (int r = 0; r < run; ++r) {
            const int64_t j = begin + r * threads;
            scaled[r] = j < n && counts(j) ? z[j] * inverse_tau : -INFINITY;
            part_max = fmaxf(part_max, scaled[r]);
        }
        if (part_max > max) {
            sum *= exp(double{max} - double{part_max});
            max = part_max;
        }
        const float shift = max == -INFINITY ? 0.0f : max;
        ESPALIER_UNROLL
        for (int r = 0; r < run; ++r) part += expf(scaled[r] - shift);
        sum += double{part};
    }
    const float largest = reduce_block<Max, threads>(max);
    if (max > -INFINITY) sum *= exp(double{max} - double{largest});  // else 0, or NaN of a thread's own
    sum = reduce_block<Sum, threads>(sum);
    if (threadIdx.x == 0) {
        stats[0] = largest;
        stats[1] = static_cast<float>(sum);
    }
}

__global__ void statistics_of_rows(const float* logits, int64_t n, float inverse_tau, float* stats) {
    const auto all = [](int64_t) { return true; };
    statistics_of_row(logits + blockIdx.x * n, n, inverse_tau, all, stats + 2 * blockIdx.x);
}

/// The tokens that do not count have a bit each in dynamic shared memory, 16 KiB of 128256.
__global__ void statistics_of_tails(const float* logits, int64_t n, const int32_t* ids, int64_t k,
                                    int64_t first_id, float inverse_tau, float* stats) {
    uint32_t* const marks = dynamic_shared<uint32_t>();
    for (int64_t word = threadIdx.x; word * 32 < n; word += threads) marks[word] = 0;
    __syncthreads();
    for (int64_t b = threadIdx.x; b < k; b += threads) {
        const int64_t column = column_of(ids[blockIdx.x * k + b], first_id, n);
        if (column >= 0) atomicOr(marks + column / 32, 1U << (column % 32));
    }
    __syncthreads();
    const auto of_tail = [=](int64_t j) { return (marks[j / 32] >> (j % 32) & 1U) == 0; };
    statistics_of_row(logits + blockIdx.x * n, n, inverse_tau, of_tail, stats + 2 * blockIdx.x);
}

constexpr int row_threads = 128;  // where a thread has a row

__global__ void combine(int64_t parts, int64_t rows, const float* stats, float* lse) {
    const int64_t i = int64_t{blockIdx.x} * row_threads + threadIdx.x;
    if (i >= rows) return;
    double max = -INFINITY, sum = 0;
    for (int64_t part = 0; part < parts; ++part) max = fmax(max, double{stats[2 * (part * rows + i)]});
    for (int64_t part = 0; part < parts; ++part) {
        const float* const s = stats + 2 * (part * rows + i);
        if (s[1] != 0) sum += double{s[1]} * exp(double{s[0]} - max);
    }
    lse[i] = static_cast<float>(max + log(sum));
}

__global__ void logits_of_labels(int64_t rows, int64_t n, const float* logits, const int32_t* labels,
                                 int64_t first_id, float* labelled) {
    const int64_t i = int64_t{blockIdx.x} * row_threads + threadIdx.x;
    if (i >= rows) return;
    const int64_t column = column_of(labels[i], first_id, n);
    labelled[i] = column >= 0 ? logits[i * n + column] : 0.0f;
}

template <Divergence kind>
__global__ void sums_of_rows(const float* teacher, const float* student, int64_t n, const float* lse_t,
                             const float* lse_s, float inverse_tau, float* sums) {
    const int64_t row = blockIdx.x * n;
    const float from_t = lse_t[blockIdx.x], from_s = lse_s[blockIdx.x];
    double total[divergence_sum_count] = {};
    constexpr int half_run = run / 2;  // of either side
    for (int64_t begin = threadIdx.x; begin < n; begin += half_run * threads) {
        float of_t[half_run], of_s[half_run], part[divergence_sum_count] = {};
        ESPALIER_UNROLL
        for (int r = 0; r < half_run; ++r) {
            const int64_t j = begin + r * threads;
            of_t[r] = j < n ? teacher[row + j] : 0.0f;
            of_s[r] = j < n ? student[row + j] : 0.0f;
        }
        ESPALIER_UNROLL
        for (int r = 0; r < half_run; ++r) {
            if (begin + r * threads >= n) break;
            const auto term =
                terms<kind, DeviceMath>(of_t[r] * inverse_tau - from_t, of_s[r] * inverse_tau - from_s);
            part[0] += term.first;
            part[1] += term.second;
            part[2] += term.third;
        }
        for (int k = 0; k < divergence_sum_count; ++k) total[k] += double{part[k]};
    }
    for (int k = 0; k < divergence_sum_count; ++k) {
        const double sum = reduce_block<Sum, threads>(total[k]);
        if (threadIdx.x == 0) sums[blockIdx.x * divergence_sum_count + k] = static_cast<float>(sum);
    }
}

template <Divergence kind>
__global__ void losses_of_rows(int64_t rows, const float* sums, float* loss) {
    const int64_t i = int64_t{blockIdx.x} * row_threads + threadIdx.x;
    if (i < rows) loss[i] = row_loss<kind>(sums + i * divergence_sum_count);
}

struct GradientInputs {
    const float* teacher;
    const float* student;
    const float* lse_t;
    const float* lse_s;
    const float* sums;
    const float* lse_1;
    const int32_t* labels;
    const float* row_weights;
    int64_t n;
    int64_t first_id;
    float inverse_tau, divergence_weight, label_weight;
};

enum class Objective { labels, divergence, divergence_with_sums };

/// kind is read only where the divergence is part of the objective, sums is written only where they come with
/// the gradient, which needs none then. A thread reads an entry before it writes it, so that the gradient may
/// take the student's place.
template <Objective objective, Divergence kind, class T>
__global__ void gradient_of_rows(GradientInputs in, T* d_logits, float* sums) {
    const int64_t i = blockIdx.x, row = i * in.n;
    const float weight = in.row_weights[i];
    const int32_t label = in.label_weight != 0 ? in.labels[i] : -1;
    const float label_factor = label >= 0 ? weight * in.label_weight : 0.0f;
    const float lse_1 = label_factor != 0 ? in.lse_1[i] : 0.0f;
    const int64_t label_column = column_of(label, in.first_id, in.n);
    float factor = 0, from_t = 0, from_s = 0;
    RowConstants constants;
    if constexpr (objective != Objective::labels) {
        factor = weight * in.divergence_weight * in.inverse_tau;
        from_t = in.lse_t[i];
        from_s = in.lse_s[i];
    }
    if constexpr (objective == Objective::divergence)
        constants = row_constants<kind>(in.sums + i * divergence_sum_count);
    double total = 0;
    for (int64_t begin = threadIdx.x; begin < in.n; begin += run * threads) {
        const int64_t end = begin + run * threads < in.n ? begin + run * threads : in.n;
        float part = 0;
        for (int64_t j = begin; j < end; j += threads) {
            const float s = in.student[row + j];
            float d = 0;
            if constexpr (objective != Objective::labels) {
                if (weight != 0) {
                    const float a_t = in.teacher[row + j] * in.inverse_tau - from_t,
                                a_s = s * in.inverse_tau - from_s;
                    d = factor * gradient<kind, DeviceMath>(a_t, a_s, constants);
                    if constexpr (objective == Objective::divergence_with_sums)
                        part += terms<kind, DeviceMath>(a_t, a_s).first;
                }
            }
            if (label_factor != 0) d += label_factor * (expf(s - lse_1) - (j == label_column ? 1.0f : 0.0f));
            store(d_logits + row + j, d);
        }
        if constexpr (objective == Objective::divergence_with_sums) total += double{part};
    }
    if constexpr (objective == Objective::divergence_with_sums) {
        const double sum = reduce_block<Sum, threads>(total);
        if (threadIdx.x < divergence_sum_count)
            sums[i * divergence_sum_count + threadIdx.x] = threadIdx.x == 0 ? static_cast<float>(sum) : 0.0f;
    }
}

template <Objective objective, Divergence kind>
void launch_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, Tensor& d_logits,
                     float* sums) {
    const auto& [teacher, student, lse_t, lse_s] = in.sides;
    const int64_t rows = student.dim(0);
    const GradientInputs of_rows{
        data<float>(teacher), data<float>(student),  data<float>(lse_t),       data<float>(lse_s),
        data<float>(in.sums), data<float>(in.lse_1), data<int32_t>(in.labels), data<float>(in.row_weights),
        student.dim(1),       in.first_id,           1.0f / weights.tau,       weights.divergence_weight,
        weights.label_weight};
    visit_elements(d_logits.dtype(), [&]<class T>(T) {
        launch(gradient_of_rows<objective, kind, T>, narrow<unsigned>(rows), threads, 0, ctx.stream(),
               of_rows, data<T>(d_logits), sums);
    });
}

__global__ void argmax_of_rows(const float* logits, int64_t n, int64_t first_id, float* best) {
    const float* const z = logits + blockIdx.x * n;
    float max = -INFINITY;
    for (int64_t begin = threadIdx.x; begin < n; begin += run * threads) {
        ESPALIER_UNROLL
        for (int r = 0; r < run; ++r) {
            const int64_t j = begin + r * threads;
            max = fmaxf(max, j < n ? z[j] : -INFINITY);
        }
    }
    max = reduce_block<Max, threads>(max);
    int64_t after = 0;  // n less the lowest column that has the maximum; 0 without one
    for (int64_t j = threadIdx.x; j < n; j += threads) {
        if (z[j] == max) {
            after = n - j;
            break;
        }
    }
    after = reduce_block<Max, threads>(after);
    if (threadIdx.x == 0) {
        best[2 * blockIdx.x] = max;
        best[2 * blockIdx.x + 1] = after > 0 ? static_cast<float>(first_id + n - after) : -1.0f;
    }
}

}  // namespace

void softmax_statistics(Context& ctx, const Tensor& logits, float tau, Tensor& stats) {
    const auto [rows, n] = logits.dims<2>();
    launch(statistics_of_rows, narrow<unsigned>(rows), threads, 0, ctx.stream(), data<float>(logits), n,
           1.0f / tau, data<float>(stats));
}

void tail_statistics(Context& ctx, const Tensor& logits, const Tensor& ids, int64_t first_id, float tau,
                     Tensor& stats) {
    const auto [rows, n] = logits.dims<2>();
    launch(statistics_of_tails, narrow<unsigned>(rows), threads,
           static_cast<size_t>(div_ceil<int64_t>(n, 32)) * sizeof(uint32_t), ctx.stream(),
           data<float>(logits), n, data<int32_t>(ids), ids.dim(1), first_id, 1.0f / tau, data<float>(stats));
}

void softmax_combine(Context& ctx, const Tensor& all, Tensor& lse) {
    const int64_t parts = all.dim(0), rows = all.dim(1);
    launch(combine, blocks_for(rows, row_threads), row_threads, 0, ctx.stream(), parts, rows,
           data<float>(all), data<float>(lse));
}

void label_logits(Context& ctx, const Tensor& logits, const Tensor& labels, int64_t first_id,
                  Tensor& labelled) {
    const auto [rows, n] = logits.dims<2>();
    launch(logits_of_labels, blocks_for(rows, row_threads), row_threads, 0, ctx.stream(), rows, n,
           data<float>(logits), data<int32_t>(labels), first_id, data<float>(labelled));
}

void divergence_sums(Context& ctx, Divergence kind, const Sides& sides, float tau, Tensor& sums) {
    const int64_t rows = sides.student.dim(0), n = sides.student.dim(1);
    with_divergence(kind, [&]<Divergence constant>() {
        launch(sums_of_rows<constant>, narrow<unsigned>(rows), threads, 0, ctx.stream(),
               data<float>(sides.teacher), data<float>(sides.student), n, data<float>(sides.lse_t),
               data<float>(sides.lse_s), 1.0f / tau, data<float>(sums));
    });
}

void divergence_loss(Context& ctx, Divergence kind, const Tensor& sums, Tensor& loss) {
    const int64_t rows = loss.dim(0);
    with_divergence(kind, [&]<Divergence constant>() {
        launch(losses_of_rows<constant>, blocks_for(rows, row_threads), row_threads, 0, ctx.stream(), rows,
               data<float>(sums), data<float>(loss));
    });
}

void logit_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, Tensor& d_logits) {
    if (!weights.divergence)
        return launch_gradient<Objective::labels, Divergence::kl>(ctx, weights, in, d_logits, nullptr);
    with_divergence(*weights.divergence, [&]<Divergence kind>() {
        launch_gradient<Objective::divergence, kind>(ctx, weights, in, d_logits, nullptr);
    });
}

void kl_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, Tensor& d_logits,
                 Tensor& sums) {
    launch_gradient<Objective::divergence_with_sums, Divergence::kl>(ctx, weights, in, d_logits,
                                                                     data<float>(sums));
}

void row_argmax(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& best) {
    const auto [rows, n] = logits.dims<2>();
    launch(argmax_of_rows, narrow<unsigned>(rows), threads, 0, ctx.stream(), data<float>(logits), n, first_id,
           data<float>(best));
}

}  // namespace espalier::cuda
