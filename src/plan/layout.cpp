#include "src/plan/layout.hpp"

#include <algorithm>

#include "src/core/error.hpp"
#include "src/core/exact.hpp"

namespace espalier::plan {
namespace {

std::string objection(const model::Architecture& a, const char* who, const Layout& l) {
    const int64_t most = model::most_parts(a);
    if (l.tp > most)
        return fmt::format("the {} splits into {} parts at most; choose --tp <= {}", who, most, most);
    if (l.pp * l.virtual_stages > a.depth())
        return fmt::format(
            "the {} has {} layers for {} stages x {} virtual stages; choose --pp x --virtual-stages <= {}",
            who, a.depth(), l.pp, l.virtual_stages, a.depth());
    return "";
}

/// Of all replicas.
int64_t micro_batches(const Step& step, const Layout& l) {
    return div_ceil(step.global_batch, l.micro_batch);
}

}  // namespace

std::string to_string(const Layout& l) {
    return fmt::format("tp {} pp {} v {} dp {} micro-batch {} {}", l.tp, l.pp, l.virtual_stages, l.dp,
                       l.micro_batch, to_string(l.recompute));
}

double Step::flops() const {
    const double student = 3 * model::forward_flops_per_token(model, seq_len),
                 forward = teacher ? model::forward_flops_per_token(*teacher, seq_len) : 0;
    return tokens() * (student + forward);
}

Share fullest_share(const Step& step, const Layout& l) {
    const int64_t most = div_ceil(micro_batches(step, l), l.dp);
    return {most, std::min(most * l.micro_batch, step.global_batch)};
}

std::string objection(const Step& step, const Layout& l) {
    if (auto text = objection(step.model, step.teacher ? "student" : "model", l); !text.empty()) return text;
    if (step.teacher) {
        if (auto text = objection(*step.teacher, "teacher", l); !text.empty()) return text;
    }
    if (l.virtual_stages > 1 && l.pp == 1) return "one stage has no use for --virtual-stages; choose 1";
    if (l.micro_batch > step.global_batch)
        return fmt::format("--micro-batch {} exceeds --global-batch {}", l.micro_batch, step.global_batch);
    const int64_t all = micro_batches(step, l);
    if (all < l.dp)
        return fmt::format(
            "--global-batch {} has {} micro-batches of {}, so that {} of {} replicas would have no work; "
            "choose "
            "a larger --global-batch or --tp x --pp, or a smaller --micro-batch or --gpus",
            step.global_batch, all, l.micro_batch, l.dp - all, l.dp);
    return "";
}

}  // namespace espalier::plan
