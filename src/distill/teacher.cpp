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
    // The best so far beside the best of the next part, in two tables that take turns.
    struct Table {
        Tensor values, ids;
        Tensor values_at(int64_t slot) const {
            return values.rows(slot, 1).view({values.dim(1), values.dim(2)});
        }
        Tensor ids_at(int64_t slot) const { return ids.rows(slot, 1).view({ids.dim(1), ids.dim(2)}); }
    };
    const int64_t parts = logits.count();
    const auto table = [&] {
        return Table{ctx.empty({2, rows, k}, DType::f32), ctx.empty({2, rows, k}, DType::i32)};
    };
    Table now = table(), next = parts > 1 ? table() : Table{};
    for (int64_t p = 0; p < parts; ++p) {
        Tensor values = now.values_at(p == 0 ? 0 : 1), ids = now.ids_at(p == 0 ? 0 : 1);
        row_top_k(ctx, logits.get(ctx, p), logits.first_id(p), values, ids);
        if (p == 0) continue;
        Tensor best_values = next.values_at(0), best_ids = next.ids_at(0);
        merge_top_k(ctx, now.values, now.ids, best_values, best_ids);
        std::swap(now, next);
    }
    TeacherBlock out{{}, ctx.empty({rows, k}, DType::f32), ctx.empty({rows, k}, DType::i32), {}};
    merge_top_k(ctx, tensor.gather_equal(ctx, now.values_at(0)), tensor.gather_equal(ctx, now.ids_at(0)),
                out.top_values, out.top_ids);
    Tensor stats = ctx.empty({parts, rows, 2}, DType::f32);
    for (int64_t p = 0; p < parts; ++p) {
        Tensor part = stats.rows(p, 1).view({rows, 2});
        tail_statistics(ctx, logits.take(ctx, p), out.top_ids, logits.first_id(p), tau, part);
    }
    out.tail = model::join_statistics(ctx, tensor, stats);
    return out;
}

}  // namespace espalier::distill
