#include "jobs/pruning/iterative_cut.hpp"

#include <cmath>

#include "jobs/data/tokens.hpp"
#include "src/core/error.hpp"
#include "src/prune/compose.hpp"
#include "src/prune/measures.hpp"

namespace espalier::jobs {
namespace {

void check(const prune::Target& target, const IterativeOptions& o) {
    ESPALIER_REQUIRE(o.steps >= 1, "--iterations {}: it must be at least 1", o.steps);
    ESPALIER_REQUIRE(!o.calibration.data.empty(),
                     "--iterations {} scores in between: give --data PREFIX (and --samples, --seq-len)",
                     o.steps);
    if (o.steps == 1) return;
    const char* whole = target.depth.drop.empty() ? nullptr : "--drop-layers";
    if (target.residual != prune::HeadResidual::off) whole = "--head-residual";
    if (target.head_dim) whole = "--head-dim";
    if (target.depth.style == prune::DepthStyle::contiguous) whole = "--contiguous";
    ESPALIER_REQUIRE(
        whole == nullptr,
        "--iterations {}: {} is one decision, not one in steps; use --iterations 1, or leave it for "
        "a prune of its own",
        o.steps, whole);
    ESPALIER_REQUIRE(target.depth.by != prune::DepthBy::accuracy,
                     "--iterations {}: between steps, --depth-by is bi or ppl", o.steps);
}

}  // namespace

prune::Kept choose_in_steps(Session& session, ModelFile& source, const prune::Target& target,
                            const prune::Scores* first, const IterativeOptions& options) {
    const auto& a = source.architecture();
    check(target, options);
    prune::check_target(a, target, source.path());
    Calibration calibration = options.calibration;
    check(calibration, source);
    const auto data = open_data(session, calibration, source);
    tell_epochs(session.log(), data.samples);
    ScoringOptions scoring{.site = options.site, .what = "score"};
    scoring.pass.influence = target.depth.layers && target.depth.by == prune::DepthBy::influence;
    scoring.pass.loss_without = target.depth.layers && target.depth.by == prune::DepthBy::loss;
    if (target.head_dim) scoring.head_dims = prune::HeadDimSums::keep;

    prune::Kept kept = prune::keep_all(a);
    for (int64_t step = 1; step <= options.steps; ++step) {
        const auto between = prune::shape(a, kept);
        prune::Scores scores;
        if (step == 1 && first) {
            scores = *first;
        } else {
            const auto model = load_cut(session, source, kept, between, session.dtype());
            const auto sums = score_samples(session, *model, data, calibration, scoring);
            ESPALIER_REQUIRE(std::isfinite(sums.loss),
                             "{}: its loss is not a number{}; are its weights damaged?", source.path(),
                             step == 1 ? "" : fmt::format(" after {} cuts", step - 1));
            scores = prune::scores_of(sums, scoring.pass, between, options.pair);
            prune::check(scores, between, source.path());
            session.model_flops += sums.tokens * model::forward_flops_per_token(between, calibration.seq_len);
        }
        auto chosen = prune::choose(between, &scores, prune::step_target(a, target, step, options.steps),
                                    source.path());
        if (options.steps == 1) return chosen;
        kept = prune::compose(kept, chosen);
    }
    return kept;
}

}  // namespace espalier::jobs
