#include "src/model/states.hpp"

#include <algorithm>
#include <utility>

#include "kernels/rows.hpp"

namespace espalier::model {

StatePlace place_of_state(const Architecture& a, int stages, int virtual_stages, StateName state) {
    // The embedding is where the first layer is, the final norm where the last.
    const int64_t layer = state.site == Site::final_norm ? a.depth() - 1 : std::max<int64_t>(state.layer, 0);
    const auto runs = stage_runs(a, stages * virtual_stages);
    for (int run = 0; run < stages * virtual_stages; ++run) {
        if (runs[run].contains(layer)) return {run % stages, run / stages};
    }
    throw InternalError(fmt::format("no layer {}", state.layer));
}

void StateWatch::report(Context& ctx, StateName name, const Tensor& x) const {
    for (size_t i = 0; i < wanted_.size(); ++i) {
        if (wanted_[i] == name) seen_(ctx, i, x);
    }
}

void StateWatch::block(Context& ctx, int64_t layer, const TokenBatch&, const Tensor& x, const Tensor& out) {
    if (layer == 0) report(ctx, {Site::residual, -1}, x);
    report(ctx, {Site::residual, layer}, out);
}

void StateWatch::norm_output(Context& ctx, StateName name, const TokenBatch&, const Tensor& all) {
    if (std::find(wanted_.begin(), wanted_.end(), name) == wanted_.end()) return;
    const Range mine = comm::my_rows(tensor_, all.dim(0));
    Tensor x = all.rows(mine.begin, mine.size());
    if (tensor_.size() > 1) {
        // States wait: a view would keep the other ranks' rows as well.
        Tensor own = ctx.empty(x.shape(), x.dtype());
        copy_columns(ctx, x, 0, own, 0, x.dim(1));
        x = std::move(own);
    }
    report(ctx, name, x);
}

}  // namespace espalier::model
