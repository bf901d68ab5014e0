#include "src/model/logit_parts.hpp"

#include "kernels/divergence.hpp"
#include "kernels/elementwise.hpp"

namespace espalier::model {

Tensor LogitParts::get(Context& ctx, int64_t part) {
    Tensor& kept = kept_.at(static_cast<size_t>(part));
    if (kept) return kept;
    Tensor logits = source_(ctx, columns(part));
    if (storage_ == HeadBlocks::Storage::kept) kept = logits;
    return logits;
}

Tensor LogitParts::take(Context& ctx, int64_t part) {
    Tensor logits = get(ctx, part);
    kept_.at(static_cast<size_t>(part)) = {};
    return logits;
}

LabelReadings read_labels(Context& ctx, const comm::Communicator& tensor, LogitParts& logits,
                          const Tensor& labels, const ReadPart& read) {
    const int64_t rows = labels.dim(0), parts = logits.count();
    Tensor stats = ctx.empty({parts, rows, 2}, DType::f32), labelled = ctx.empty({rows}, DType::f32),
           at_label = ctx.zeros({rows}, DType::f32);
    for (int64_t p = 0; p < parts; ++p) {
        const Tensor z = logits.get(ctx, p);
        Tensor of_part = stats.rows(p, 1).view({rows, 2});
        softmax_statistics(ctx, z, 1.0f, of_part);
        label_logits(ctx, z, labels, logits.first_id(p), labelled);
        accumulate(ctx, labelled, at_label);
        if (read) read(p, z);
    }
    tensor.all_reduce(ctx, at_label);
    return {join_statistics(ctx, tensor, stats), at_label};
}

Tensor join_statistics(Context& ctx, const comm::Communicator& tensor, const Tensor& stats) {
    const auto [parts, rows, two] = stats.dims<3>();
    Tensor lse = ctx.empty({rows}, DType::f32);
    softmax_combine(ctx, tensor.gather_equal(ctx, stats).view({tensor.size() * parts, rows, two}), lse);
    return lse;
}

}  // namespace espalier::model
