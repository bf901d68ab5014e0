#include "src/distill/teacher.hpp"

#include "kernels/top_k.hpp"
#include "src/model/logits.hpp"

namespace espalier::distill {

Teacher live_teacher(const model::Transformer& model, Tensor hidden) {
    return [&model, hidden = std::move(hidden)](Context& ctx, int64_t begin, int64_t rows) {
        return TeacherBlock{model::logits(ctx, model, hidden.rows(begin, rows)), {}, {}, {}};
    };
}

TeacherBlock top_tokens(Context& ctx, const comm::Communicator& tensor, const Tensor& logits,
                        int64_t first_id, int64_t k, float tau) {
    const Shape shape{logits.dim(0), k};
    Tensor mine_values = ctx.empty(shape, DType::f32), mine_ids = ctx.empty(shape, DType::i32);
    row_top_k(ctx, logits, first_id, mine_values, mine_ids);
    TeacherBlock out{{}, ctx.empty(shape, DType::f32), ctx.empty(shape, DType::i32), {}};
    merge_top_k(ctx, tensor.gather_equal(ctx, mine_values), tensor.gather_equal(ctx, mine_ids),
                out.top_values, out.top_ids);
    out.tail = model::tail_log_sum_exp(ctx, tensor, logits, out.top_ids, first_id, tau);
    return out;
}

}  // namespace espalier::distill
