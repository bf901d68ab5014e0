// The bias's gradient: column sums. Reads dy once.
#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/matmul.hpp"

namespace espalier::cuda {
namespace {

template <class T>
struct BiasTerms {
    const T* dy;
    int64_t n;
    __device__ void add(int64_t row, int64_t j, float (&sums)[1]) const {
        sums[0] += to_float(dy[row * n + j]);
    }
};

}  // namespace

void bias_backward(Context& ctx, const Tensor& dy, Tensor& dbias) {
    const auto [rows, n] = dy.dims<2>();
    visit_elements(dy.dtype(), [&, rows = rows, n = n]<class T>(T) {
        add_column_sums<1>(ctx, rows, n, BiasTerms<T>{data<T>(dy), n}, {data<float>(dbias)});
    });
}

}  // namespace espalier::cuda
