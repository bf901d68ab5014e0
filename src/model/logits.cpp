#include "src/model/logits.hpp"

#include <algorithm>

#include "kernels/divergence.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/matmul.hpp"
#include "kernels/soft_cap.hpp"
#include "src/model/logit_parts.hpp"

namespace espalier::model {

namespace {

/// What logits may take at a time.
struct Budget {
    int64_t block_bytes;  ///< over the whole vocabulary
    int64_t part_bytes;   ///< over a part of it
    int64_t most_rows;
};

Budget budget_of(Device device) {
    constexpr int64_t mib = 1 << 20;
    return device == Device::cuda ? Budget{1024 * mib, 1024 * mib, 8192} : Budget{32 * mib, 8 * mib, 2048};
}

}  // namespace

std::vector<Range> split_into(int64_t total, int64_t most) {
    const int64_t count = div_ceil(total, most);
    std::vector<Range> parts;
    for (int64_t i = 0; i < count; ++i) parts.push_back(split_evenly(total, count, i));
    return parts;
}

std::vector<Range> logit_blocks(const Architecture& a, Device device, int tp, int64_t tokens) {
    const Budget budget = budget_of(device);
    const int64_t row_bytes = 4 * div_ceil<int64_t>(a.vocab, tp);
    return split_into(tokens, std::clamp<int64_t>(budget.block_bytes / row_bytes, 128, budget.most_rows));
}

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

/// What is read off the logits of a block of tokens, of which few exist at a time: those of one part of this
/// rank's vocabulary after another, so that the head is packed once for all of the tokens.
struct Readings {
    Tensor stats;     // [parts, rows, 2]  of softmax_statistics
    Tensor best;      // [parts, rows, 2]  of row_argmax; only where asked for
    Tensor at_label;  // [rows]  this rank's part
};

Readings read_logits(Context& ctx, const Transformer& model, const Tensor& hidden, const Tensor& labels,
                     bool wants_best) {
    const int64_t rows = hidden.dim(0),
                  most = div_ceil<int64_t>(model.architecture().vocab, model.tensor().size()),
                  columns = std::max<int64_t>(budget_of(ctx.device()).part_bytes / (4 * rows), 1),
                  parts = div_ceil(most, columns);  // on every rank of the tensor group
    const Range ids = model.vocabulary();
    Readings read{ctx.empty({parts, rows, 2}, DType::f32),
                  wants_best ? ctx.empty({parts, rows, 2}, DType::f32) : Tensor(),
                  ctx.zeros({rows}, DType::f32)};
    Tensor labelled = ctx.empty({rows}, DType::f32);
    for (int64_t i = 0; i < parts; ++i) {
        const Range part = split_evenly(ids.size(), parts, i);
        const int64_t first_id = ids.begin + part.begin;
        const Tensor z = logits(ctx, model, hidden, part);
        Tensor stats = read.stats.rows(i, 1).view({rows, 2});
        softmax_statistics(ctx, z, 1.0f, stats);
        label_logits(ctx, z, labels, first_id, labelled);
        accumulate(ctx, labelled, read.at_label);
        if (!wants_best) continue;
        Tensor best = read.best.rows(i, 1).view({rows, 2});
        row_argmax(ctx, z, first_id, best);
    }
    return read;
}

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
    for (const Range block : split_into(hidden.dim(0), budget_of(ctx.device()).most_rows)) {
        const Tensor label = labels.rows(block.begin, block.size());
        Readings read =
            read_logits(ctx, model, hidden.rows(block.begin, block.size()), label, best != nullptr);
        const Tensor lse = join_statistics(ctx, tensor, read.stats);
        tensor.all_reduce(ctx, read.at_label);
        append_losses(ctx.to_host(lse), ctx.to_host(read.at_label), ctx.to_host(label), losses);
        if (best) {
            const auto ids = best_ids(ctx.to_host(gather_parts(ctx, tensor, read.best)));
            best->insert(best->end(), ids.begin(), ids.end());
        }
    }
    return losses;
}

}  // namespace espalier::model
