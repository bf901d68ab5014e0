#include "src/model/logits.hpp"

#include <algorithm>

#include "kernels/divergence.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/matmul.hpp"
#include "kernels/soft_cap.hpp"

namespace espalier::model {

namespace {

/// What logits may take at a time.
struct Budget {
    int64_t bytes, most_rows;
};

Budget budget_of(Device device) {
    return device == Device::cuda ? Budget{int64_t{1} << 30, 8192} : Budget{int64_t{32} << 20, 2048};
}

/// [0, total) in parts of nearly equal size, of at most `most`.
std::vector<Range> parts_of(int64_t total, int64_t most) {
    const int64_t count = div_ceil(total, most);
    std::vector<Range> parts;
    for (int64_t i = 0; i < count; ++i) parts.push_back(split_evenly(total, count, i));
    return parts;
}

}  // namespace

std::vector<Range> logit_blocks(const Architecture& a, Device device, int tp, int64_t tokens) {
    const Budget budget = budget_of(device);
    const int64_t row_bytes = 4 * div_ceil<int64_t>(a.vocab, tp);
    return parts_of(tokens, std::clamp<int64_t>(budget.bytes / row_bytes, 128, budget.most_rows));
}

namespace {

void cap(Context& ctx, const Transformer& model, Tensor& logits) {
    const float most = model.architecture().final_soft_cap;
    if (most > 0) soft_cap(ctx, most, logits);
}

}  // namespace

Tensor logits(Context& ctx, const Transformer& model, const Tensor& hidden) {
    const Tensor head = model.head();
    Tensor out = ctx.empty({hidden.dim(0), head.dim(0)}, DType::f32);
    matmul(ctx, hidden, head, model.head_bias(), out);
    cap(ctx, model, out);
    return out;
}

namespace {

/// Of each rank's [rows, 2]: lse [rows].
Tensor joined(Context& ctx, const comm::Communicator& tensor, const Tensor& stats) {
    Tensor lse = ctx.empty({stats.dim(0)}, DType::f32);
    softmax_combine(ctx, tensor.gather_equal(ctx, stats), lse);
    return lse;
}

}  // namespace

Tensor log_sum_exp(Context& ctx, const comm::Communicator& tensor, const Tensor& logits, float tau) {
    Tensor stats = ctx.empty({logits.dim(0), 2}, DType::f32);
    softmax_statistics(ctx, logits, tau, stats);
    return joined(ctx, tensor, stats);
}

Tensor tail_log_sum_exp(Context& ctx, const comm::Communicator& tensor, const Tensor& logits,
                        const Tensor& ids, int64_t first_id, float tau) {
    Tensor stats = ctx.empty({logits.dim(0), 2}, DType::f32);
    tail_statistics(ctx, logits, ids, first_id, tau, stats);
    return joined(ctx, tensor, stats);
}

Tensor labelled_logits(Context& ctx, const comm::Communicator& tensor, const Tensor& logits,
                       const Tensor& labels, int64_t first_id) {
    Tensor out = ctx.empty({logits.dim(0)}, DType::f32);
    label_logits(ctx, logits, labels, first_id, out);
    tensor.all_reduce(ctx, out);
    return out;
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
                  columns = std::max<int64_t>(budget_of(ctx.device()).bytes / (4 * rows), 1),
                  parts = div_ceil(most, columns);  // on every rank of the tensor group
    const Range ids = model.vocabulary();
    Readings read{ctx.empty({parts, rows, 2}, DType::f32),
                  wants_best ? ctx.empty({parts, rows, 2}, DType::f32) : Tensor(),
                  ctx.zeros({rows}, DType::f32)};
    Tensor labelled = ctx.empty({rows}, DType::f32);
    for (int64_t i = 0; i < parts; ++i) {
        const Range part = split_evenly(ids.size(), parts, i);
        const int64_t first_id = ids.begin + part.begin;
        Tensor z = ctx.empty({rows, part.size()}, DType::f32);
        const Tensor bias = model.head_bias();
        matmul(ctx, hidden, model.head().rows(part.begin, part.size()),
               bias ? bias.slice(part.begin, {part.size()}) : bias, z);
        cap(ctx, model, z);
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
    for (const Range block : parts_of(hidden.dim(0), budget_of(ctx.device()).most_rows)) {
        const Tensor label = labels.rows(block.begin, block.size());
        Readings read =
            read_logits(ctx, model, hidden.rows(block.begin, block.size()), label, best != nullptr);
        Tensor lse = ctx.empty({block.size()}, DType::f32);
        softmax_combine(ctx, gather_parts(ctx, tensor, read.stats), lse);
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
