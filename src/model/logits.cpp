#include "src/model/logits.hpp"

#include <algorithm>

#include "kernels/divergence.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/matmul.hpp"
#include "kernels/soft_cap.hpp"

namespace espalier::model {

namespace {

void cap(Context& ctx, const Transformer& model, Tensor& logits) {
    const float most = model.architecture().final_soft_cap;
    if (most > 0) soft_cap(ctx, most, logits);
}

}  // namespace

Tensor logits(Context& ctx, const Transformer& model, const Tensor& hidden) {
    return logits(ctx, model, hidden, {0, model.head().dim(0)});
}

Tensor logits(Context& ctx, const Transformer& model, const Tensor& hidden, Range columns) {
    const Tensor bias = model.head_bias();
    Tensor out = ctx.empty({hidden.dim(0), columns.size()}, DType::f32);
    matmul(ctx, hidden, model.head().rows(columns.begin, columns.size()),
           bias ? bias.slice(columns.begin, {columns.size()}) : bias, out);
    cap(ctx, model, out);
    return out;
}

Tensor log_sum_exp(Context& ctx, const comm::Communicator& tensor, const Tensor& logits, float tau) {
    Tensor stats = ctx.empty({logits.dim(0), 2}, DType::f32);
    softmax_statistics(ctx, logits, tau, stats);
    return join_statistics(ctx, tensor, stats.view({1, stats.dim(0), 2}));
}

namespace {

/// Joins parts of the vocabulary in the order of their ids: all [parts, rows, 2] of row_argmax, on the host.
std::vector<int64_t> best_ids(const Tensor& all) {
    const auto [parts, rows, two] = all.dims<3>();
    std::vector<int64_t> best;
    for (int64_t row = 0; row < rows; ++row) {
        float value = 0, id = -1;
        for (int64_t part = 0; part < parts; ++part) {
            const float* candidate = all.data<float>() + (part * rows + row) * two;
            if (candidate[1] >= 0 && (id < 0 || candidate[0] > value)) {
                value = candidate[0];
                id = candidate[1];
            }
        }
        best.push_back(static_cast<int64_t>(id));
    }
    return best;
}

}  // namespace

std::vector<int64_t> argmax(Context& ctx, const comm::Communicator& tensor, const Tensor& logits,
                            int64_t first_id) {
    Tensor mine = ctx.empty({logits.dim(0), 2}, DType::f32);
    row_argmax(ctx, logits, first_id, mine);
    return best_ids(ctx.to_host(tensor.gather_equal(ctx, mine)));
}

namespace {

/// Each rank's [parts, rows, 2] -> [all parts, rows, 2].
Tensor gather_parts(Context& ctx, const comm::Communicator& tensor, const Tensor& parts) {
    return tensor.gather_equal(ctx, parts).view({tensor.size() * parts.dim(0), parts.dim(1), 2});
}

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
    const Timed timed = ctx.computing();
    const auto& tensor = model.tensor();
    std::vector<double> losses;
    losses.reserve(static_cast<size_t>(hidden.dim(0)));
    if (best) best->clear();
    for (const Range block : loss_blocks(ctx.device(), hidden.dim(0))) {
        const int64_t rows = block.size(),
                      parts = loss_parts(model.architecture(), ctx.device(), tensor.size(), rows);
        const Tensor some = hidden.rows(block.begin, rows), label = labels.rows(block.begin, rows);
        LogitParts z([&](Context& c, Range columns) { return logits(c, model, some, columns); },
                     model.vocabulary(), parts, HeadBlocks::Storage::computed_again);
        Tensor largest = best ? ctx.empty({parts, rows, 2}, DType::f32) : Tensor();
        const auto find_best = [&](int64_t p, const Tensor& part) {
            Tensor of_part = largest.rows(p, 1).view({rows, 2});
            row_argmax(ctx, part, z.first_id(p), of_part);
        };
        const auto read = read_labels(ctx, tensor, z, label, best ? ReadPart(find_best) : ReadPart());
        append_losses(ctx.to_host(read.lse), ctx.to_host(read.at_label), ctx.to_host(label), losses);
        if (best) {
            const auto ids = best_ids(ctx.to_host(gather_parts(ctx, tensor, largest)));
            best->insert(best->end(), ids.begin(), ids.end());
        }
    }
    return losses;
}

}  // namespace espalier::model
