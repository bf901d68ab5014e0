#include "src/model/logits.hpp"

#include <algorithm>

#include "kernels/divergence.hpp"
#include "kernels/matmul.hpp"

namespace espalier::model {

std::vector<Range> logit_blocks(const Architecture& a, Device device, int tp, int64_t tokens) {
    const int64_t block_bytes = device == Device::cuda ? int64_t{1} << 30 : int64_t{32} << 20;
    const int64_t most_rows = device == Device::cuda ? 8192 : 2048;
    const int64_t row_bytes = 4 * div_ceil<int64_t>(a.vocab, tp);
    const int64_t count = div_ceil(tokens, std::clamp<int64_t>(block_bytes / row_bytes, 128, most_rows));
    std::vector<Range> blocks;
    for (int64_t i = 0; i < count; ++i) blocks.push_back(split_evenly(tokens, count, i));
    return blocks;
}

Tensor logits(Context& ctx, const Transformer& model, const Tensor& hidden) {
    const Tensor head = model.head();
    Tensor out = ctx.empty({hidden.dim(0), head.dim(0)}, DType::f32);
    matmul(ctx, hidden, head, {}, out);
    return out;
}

Tensor log_sum_exp(Context& ctx, const comm::Communicator& tensor, const Tensor& logits, float tau) {
    const int64_t rows = logits.dim(0);
    Tensor stats = ctx.empty({rows, 2}, DType::f32), lse = ctx.empty({rows}, DType::f32);
    softmax_statistics(ctx, logits, tau, stats);
    softmax_combine(ctx, tensor.gather_equal(ctx, stats), lse);
    return lse;
}

Tensor labelled_logits(Context& ctx, const comm::Communicator& tensor, const Tensor& logits,
                       const Tensor& labels, int64_t first_id) {
    Tensor out = ctx.empty({logits.dim(0)}, DType::f32);
    label_logits(ctx, logits, labels, first_id, out);
    tensor.all_reduce(ctx, out);
    return out;
}

std::vector<int64_t> argmax(Context& ctx, const comm::Communicator& tensor, const Tensor& logits,
                            int64_t first_id) {
    const int64_t rows = logits.dim(0);
    Tensor mine = ctx.empty({rows, 2}, DType::f32);
    row_argmax(ctx, logits, first_id, mine);
    const Tensor all = ctx.to_host(tensor.gather_equal(ctx, mine));
    std::vector<int64_t> best;
    for (int64_t row = 0; row < rows; ++row) {
        float value = 0, id = -1;
        for (int64_t part = 0; part < all.dim(0); ++part) {
            const float* candidate = all.data<float>() + (part * rows + row) * 2;
            if (candidate[1] >= 0 && (id < 0 || candidate[0] > value)) {
                value = candidate[0];
                id = candidate[1];
            }
        }
        best.push_back(static_cast<int64_t>(id));
    }
    return best;
}

namespace {

/// All [rows], on the host.
void append_losses(const Tensor& lse, const Tensor& at_label, const Tensor& labels,
                   std::vector<double>& losses) {
    for (int64_t i = 0; i < labels.size(); ++i) {
        const bool counts = labels.data<int32_t>()[i] >= 0;
        losses.push_back(counts ? static_cast<double>(lse.data<float>()[i]) -
                                      static_cast<double>(at_label.data<float>()[i])
                                : 0.0);
    }
}

}  // namespace

std::vector<double> token_losses(Context& ctx, const Transformer& model, const Tensor& hidden,
                                 const Tensor& labels, std::vector<int64_t>* best) {
    const int64_t total = hidden.dim(0), first_id = model.vocabulary().begin;
    std::vector<double> losses;
    losses.reserve(static_cast<size_t>(total));
    for (const Range block : logit_blocks(model.architecture(), ctx.device(), model.tensor().size(), total)) {
        const Tensor z = logits(ctx, model, hidden.rows(block.begin, block.size())),
                     label = labels.rows(block.begin, block.size());
        const Tensor lse = log_sum_exp(ctx, model.tensor(), z, 1.0f);
        const Tensor at_label = labelled_logits(ctx, model.tensor(), z, label, first_id);
        append_losses(ctx.to_host(lse), ctx.to_host(at_label), ctx.to_host(label), losses);
        if (best) {
            const auto ids = argmax(ctx, model.tensor(), z, first_id);
            best->insert(best->end(), ids.begin(), ids.end());
        }
    }
    return losses;
}

}  // namespace espalier::model
