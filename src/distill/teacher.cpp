#include "src/distill/teacher.hpp"

#include "kernels/divergence.hpp"
#include "kernels/top_k.hpp"
#include "src/model/logits.hpp"

namespace espalier::distill {

Teacher live_teacher(const model::Transformer& model, Tensor hidden) {
    return [&model, hidden = std::move(hidden)](Context&, int64_t begin, int64_t rows) {
        TeacherBlock block;
        block.logits = [&model, some = hidden.rows(begin, rows)](Context& ctx, Range columns) {
            return model::logits(ctx, model, some, columns);
        };
        return block;
    };
}

TeacherBlock top_tokens(Context& ctx, const comm::Communicator& tensor, model::LogitParts& logits,
                        int64_t rows, int64_t k, float tau) {
    const int64_t parts = logits.count();
    Tensor values = ctx.empty({rows, k}, DType::f32), ids = ctx.empty({rows, k}, DType::i32);
    for (int64_t p = 0; p < parts; ++p) {
        const auto take_best = p == 0 ? row_top_k : add_to_top_k;
        take_best(ctx, logits.get(ctx, p), logits.first_id(p), values, ids);
    }
    TeacherBlock out{{}, ctx.empty({rows, k}, DType::f32), ctx.empty({rows, k}, DType::i32), {}};
    merge_top_k(ctx, tensor.gather_equal(ctx, values), tensor.gather_equal(ctx, ids), out.top_values,
                out.top_ids);
    Tensor stats = ctx.empty({parts, rows, 2}, DType::f32);
    for (int64_t p = 0; p < parts; ++p) {
        Tensor part = stats.rows(p, 1).view({rows, 2});
        tail_statistics(ctx, logits.take(ctx, p), out.top_ids, logits.first_id(p), tau, part);
    }
    out.tail = model::join_statistics(ctx, tensor, stats);
    return out;
}

}  // namespace espalier::distill
