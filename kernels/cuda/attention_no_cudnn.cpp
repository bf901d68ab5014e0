#include "kernels/cuda/attention_cudnn.hpp"

namespace espalier::cuda::cudnn {

bool linked() {
    return false;
}

bool attention(Context&, const Tensor&, const Tensor&, const AttentionShape&, Tensor&, Tensor&) {
    return false;
}

bool attention_backward(Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                        const AttentionShape&, Tensor&) {
    return false;
}

int64_t scratch(Context&, DType, const AttentionShape&) {
    return 0;
}

}  // namespace espalier::cuda::cudnn
