// Distances of hidden states. A block has a row, read from memory once and again from the caches: 3 rows n
// elements moved; with 256 threads 8 blocks share a multiprocessor and one's reads hide the other's
// reductions.
#include "kernels/cuda/state_distance.hpp"

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/reduce.cuh"

namespace espalier::cuda {
namespace {

constexpr int threads = 256;

/// A thread's share of a row is short enough for f32.
template <class S, class T, class D>
__global__ void rows(StateDistance distance, const S* student, const T* teacher, int64_t n, float* distances,
                     D* d_student) {
    const int64_t row = blockIdx.x * n;
    float ss = 0, tt = 0, st = 0, differences = 0;
    for (int64_t j = threadIdx.x; j < n; j += threads) {
        const float u = to_float(student[row + j]), v = to_float(teacher[row + j]);
        ss += u * u;
        tt += v * v;
        st += u * v;
        differences += (u - v) * (u - v);
    }
    double value = 0, of_difference = 0, of_student = 0;
    if (distance == StateDistance::mse) {
        value = reduce_block<Sum, threads>(double{differences}) / static_cast<double>(n);
        of_difference = 2.0 / static_cast<double>(n);
    } else {
        const double uu = reduce_block<Sum, threads>(double{ss}), vv = reduce_block<Sum, threads>(double{tt});
        const double uv = reduce_block<Sum, threads>(double{st});
        if (uu <= 0 || vv <= 0) {
            of_difference = of_student = 0.0 * uv;  // NaN stays
            value = 1.0 + of_student;
        } else {
            const double product = sqrt(uu) * sqrt(vv);
            value = 1.0 - uv / product;
            of_difference = 1.0 / product;
            of_student = uv / product / uu - of_difference;
        }
    }
    if (threadIdx.x == 0) distances[blockIdx.x] = static_cast<float>(value);
    const float a = static_cast<float>(of_difference), b = static_cast<float>(of_student);
    for (int64_t j = threadIdx.x; j < n; j += threads) {
        const float u = to_float(student[row + j]), v = to_float(teacher[row + j]);
        store(d_student + row + j, a * (u - v) + b * u);
    }
}

}  // namespace

void state_distance(Context& ctx, StateDistance distance, const Tensor& student, const Tensor& teacher,
                    Tensor& distances, Tensor& d_student) {
    visit_elements(student.dtype(), [&]<class S>(S) {
        visit_elements(teacher.dtype(), [&]<class T>(T) {
            visit_elements(d_student.dtype(), [&]<class D>(D) {
                launch(rows<S, T, D>, narrow<unsigned>(student.dim(0)), threads, 0, ctx.stream(), distance,
                       data<S>(student), data<T>(teacher), student.dim(1), data<float>(distances),
                       data<D>(d_student));
            });
        });
    });
}

}  // namespace espalier::cuda
