#include "src/model/placement.hpp"

#include <algorithm>
#include <limits>

#include "src/core/error.hpp"

namespace espalier::model {
namespace {

/// Ends of `stages` contiguous runs, each of at least one layer, whose works' squares sum to the least;
/// `last` is what the last stage has beside its layers. Dynamic programming over (stages, layers).
std::vector<int64_t> ends_of_even_work(const std::vector<double>& work, double last, int stages) {
    const auto n = static_cast<int64_t>(work.size());
    if (stages == 1) return {n};
    std::vector<double> before(work.size() + 1, 0.0);
    for (size_t i = 0; i < work.size(); ++i) before[i + 1] = before[i] + work[i];
    const auto cost = [&](int stage, int64_t begin, int64_t end) {
        const double own = before[end] - before[begin] + (stage == stages - 1 ? last : 0.0);
        return own * own;
    };
    // best[s][begin]: the least sum for stages s .. stages - 1 that share the layers from `begin` on.
    const auto columns = static_cast<size_t>(n + 1);
    constexpr double impossible = std::numeric_limits<double>::infinity();
    std::vector<std::vector<double>> best(static_cast<size_t>(stages) + 1,
                                          std::vector<double>(columns, impossible));
    std::vector<std::vector<int64_t>> end_of(static_cast<size_t>(stages), std::vector<int64_t>(columns, 0));
    best[stages][columns - 1] = 0;
    for (int s = stages - 1; s >= 0; --s) {
        for (int64_t begin = 0; begin < n; ++begin) {
            auto& least = best[s][begin];
            for (int64_t end = n; end > begin; --end) {  // from the largest: ties go to the earlier stage
                const double sum = cost(s, begin, end) + best[static_cast<size_t>(s) + 1][end];
                if (sum < least * (1 - 1e-12)) {
                    least = sum;
                    end_of[s][begin] = end;
                }
            }
        }
    }
    std::vector<int64_t> ends;
    for (int s = 0; s < stages; ++s) {
        const int64_t begin = ends.empty() ? 0 : ends.back();
        ends.push_back(end_of[s][begin]);
    }
    return ends;
}

}  // namespace

std::vector<Range> stage_runs(const Architecture& a, int stages) {
    std::vector<double> work;
    for (int64_t layer = 0; layer < a.depth(); ++layer) work.push_back(layer_product_flops(a, layer));
    std::vector<Range> runs;
    for (const int64_t end : ends_of_even_work(work, head_product_flops(a), stages))
        runs.push_back({runs.empty() ? 0 : runs.back().end, end});
    return runs;
}

bool Placement::has_layer(int64_t layer) const {
    return std::any_of(virtual_stages.begin(), virtual_stages.end(),
                       [&](Range r) { return r.contains(layer); });
}

Range Placement::layers() const {
    if (virtual_stages.size() != 1) throw InternalError("expected one virtual stage");
    return virtual_stages.front();
}

Placement partition(const Architecture& a, TensorPart tensor, const PipelineShape& pipeline) {
    const auto runs = stage_runs(a, pipeline.stages * pipeline.virtual_stages);
    Placement out{.tensor = tensor};
    for (int v = 0; v < pipeline.virtual_stages; ++v)
        out.virtual_stages.push_back(runs[v * pipeline.stages + pipeline.stage]);
    out.embedding = pipeline.stage == 0;
    out.final_norm = out.head = pipeline.stage == pipeline.stages - 1;
    return out;
}

Placement without_head(Placement placement) {
    placement.head = false;
    return placement;
}

Placement head_alone(TensorPart tensor, Head head) {
    return {.tensor = tensor, .embedding = false, .final_norm = false, .head = head == Head::here};
}

void check_layout(const Architecture& a, int tp, int pp, int virtual_stages, const std::string& source,
                  LayoutOptions options) {
    ESPALIER_REQUIRE(pp <= a.depth(),
                     "{} {}: {} has only {} layers, and every stage needs one; choose {} <= {}", options.pp,
                     pp, source, a.depth(), options.pp, a.depth());
    ESPALIER_REQUIRE(int64_t{pp} * virtual_stages <= a.depth(),
                     "--virtual-stages {}: {} has only {} layers for {} stages of {} ranks; choose "
                     "--virtual-stages <= {}",
                     virtual_stages, source, a.depth(), virtual_stages, pp, a.depth() / pp);
    const int64_t most = most_parts(a);
    ESPALIER_REQUIRE(tp <= most,
                     "{} {}: {} has {} query heads, {} neurons and {} tokens to split, and every rank needs "
                     "one of each; choose {} <= {}",
                     options.tp, tp, source, narrowest(a, &LayerShape::query_heads),
                     narrowest(a, &LayerShape::ffn), a.vocab, options.tp, most);
}

}  // namespace espalier::model
