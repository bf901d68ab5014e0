// How long a step takes and what it holds, on one layout of a system.
#pragma once

#include "src/plan/layout.hpp"
#include "src/plan/memory.hpp"
#include "src/plan/system.hpp"

namespace espalier::plan {

/// What the seconds of a step go into; they add up.
struct Breakdown {
    double compute = 0;   ///< of the slowest stage
    double tensor = 0;    ///< its tensor parallel collectives
    double pipeline = 0;  ///< its messages to neighbours
    double bubble = 0;    ///< waiting while the pipeline fills and drains
    double data = 0;      ///< exchange of gradients and weights that nothing hides
    double optimizer = 0;

    double sum() const { return compute + tensor + pipeline + bubble + data + optimizer; }
};

struct Prediction {
    Layout layout;
    double seconds = 0;
    double mfu = 0;  ///< Step::flops of peak
    double tokens_per_second = 0;
    Breakdown breakdown;
    Memory memory;  ///< of the fullest stage
    bool fits = false;
};

/// What filling and draining the pipeline costs: with s_i seconds a micro-batch on stage i (both passes), v
/// virtual stages on each and m micro-batches, (sum s_i - max s_i) / v; for equal stages that is the
/// (p - 1) / (v m) of Narayanan et al. 2021 (arXiv 2104.04473). Where the slowest stage is through with all
/// micro-batches before the first of them has been everywhere, m max s_i < sum s_i, that adds (1 - 1 / v) of
/// the difference. docs/planner.md derives it.
double bubble_seconds(const std::vector<double>& stages, int64_t virtual_stages, double micro_batches);

/// The time alone, of the replica with the most samples; a short micro-batch counts as its share of a whole
/// one. The layout must have no objection(); `partition` is the step's.
Breakdown breakdown(const System& system, const Step& step, const Layout& layout, StepPartition& partition);
Prediction predict(const System& system, const Step& step, const Layout& layout, StepPartition& partition);
Prediction predict(const System& system, const Step& step, const Layout& layout);

}  // namespace espalier::plan
