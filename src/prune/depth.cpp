#include "src/prune/depth.hpp"

#include <algorithm>
#include <numeric>
#include <set>
#include <sstream>

#include "src/core/names.hpp"
#include "src/prune/ranking.hpp"

namespace espalier::prune {
namespace {

constexpr std::array names{Named{DepthBy::influence, "bi"}, Named{DepthBy::loss, "ppl"},
                           Named{DepthBy::accuracy, "task"}};

struct Measure {
    const DepthScores& scores;
    double sign;          ///< times a score: the higher, the more a layer is needed
    const char* what;     ///< for messages
    const char* measure;  ///< the option that measures it
};

Measure measure_of(const DepthTable& table, DepthBy by) {
    switch (by) {
        case DepthBy::influence:
            return {table.influence, 1, "block influence", "--depth bi"};
        case DepthBy::loss:
            return {table.loss_without, 1, "loss without layers", "--depth ppl"};
        case DepthBy::accuracy:
            return {table.accuracy_without, -1, "accuracy without layers", "--depth-task FILE.jsonl"};
    }
    throw InternalError("unknown depth measure");
}

std::vector<int64_t> all_but(int64_t depth, const std::vector<int64_t>& dropped) {
    std::vector<int64_t> out;
    for (int64_t l = 0; l < depth; ++l) {
        if (std::find(dropped.begin(), dropped.end(), l) == dropped.end()) out.push_back(l);
    }
    return out;
}

std::vector<int64_t> without_block(int64_t depth, const DepthTable& table, const Measure& m, int64_t width,
                                   int64_t layers) {
    ESPALIER_REQUIRE(!m.scores.blocks.empty() && table.block == width,
                     "--layers {} --contiguous: the importance file holds no {} for blocks of {} layers{}; "
                     "score with {} --depth-block {}, or name layers with --drop-layers",
                     layers, m.what, width,
                     m.scores.blocks.empty() ? "" : fmt::format(" (it has blocks of {})", table.block),
                     m.measure, width);
    // The block that is needed least; of equal ones the last, so that the lower layers stay.
    int64_t best = 0;
    for (int64_t first = 0; first < static_cast<int64_t>(m.scores.blocks.size()); ++first) {
        const auto need = [&](int64_t b) { return m.sign * m.scores.blocks[b]; };
        if (need(first) <= need(best)) best = first;
    }
    std::vector<int64_t> dropped(static_cast<size_t>(width));
    std::iota(dropped.begin(), dropped.end(), best);
    return all_but(depth, dropped);
}

}  // namespace

DepthBy depth_by_from_string(const std::string& name) {
    const auto by = value_of(names, name);
    ESPALIER_REQUIRE(
        by, "--depth-by {}: choose bi (block influence), ppl (loss without), task (accuracy without)", name);
    return *by;
}

std::vector<int64_t> layers_to_keep(int64_t depth, const DepthTable* scores, const DepthTarget& target,
                                    const std::string& source) {
    if (!target.drop.empty()) {
        ESPALIER_REQUIRE(!target.layers,
                         "--layers and --drop-layers exclude each other: one counts, the other names");
        auto out = all_but(depth, target.drop);
        ESPALIER_REQUIRE(!out.empty(), "--drop-layers leaves no layer of {}", source);
        return out;
    }
    if (!target.layers || *target.layers == depth) return all_but(depth, {});
    ESPALIER_REQUIRE(scores,
                     "--layers {} needs scores: give --importance I.h5, or name layers with --drop-layers",
                     *target.layers);
    const Measure m = measure_of(*scores, target.by);
    if (target.style == DepthStyle::contiguous)
        return without_block(depth, *scores, m, depth - *target.layers, *target.layers);
    ESPALIER_REQUIRE(!m.scores.layers.empty(),
                     "--layers {}: the importance file holds no {}; score with {}{}, or name layers with "
                     "--drop-layers",
                     *target.layers, m.what, m.measure,
                     m.scores.blocks.empty()
                         ? ""
                         : fmt::format(", add --contiguous to use its blocks of {} layers", scores->block));
    std::vector<double> need;
    for (const double s : m.scores.layers) need.push_back(m.sign * s);
    return best(need, *target.layers);
}

std::vector<int64_t> parse_layers(const std::string& text, int64_t depth) {
    std::set<int64_t> out;
    std::istringstream parts(text);
    for (std::string part; std::getline(parts, part, ',');) {
        const size_t dash = part.find('-');
        const auto number = [&](const std::string& digits) {
            const bool ok = !digits.empty() && digits.size() < 9 &&
                            digits.find_first_not_of("0123456789") == std::string::npos;
            ESPALIER_REQUIRE(ok,
                             "--drop-layers {}: \"{}\" is not a layer number or range; for example "
                             "--drop-layers 16-31 or 3,7,8",
                             text, part);
            return static_cast<int64_t>(std::stoll(digits));
        };
        const int64_t from = number(part.substr(0, dash)),
                      to = dash == std::string::npos ? from : number(part.substr(dash + 1));
        ESPALIER_REQUIRE(from <= to, "--drop-layers {}: {} ends before it begins", text, part);
        ESPALIER_REQUIRE(to < depth, "--drop-layers {}: the model's layers are 0 to {}", text, depth - 1);
        for (int64_t l = from; l <= to; ++l) out.insert(l);
    }
    ESPALIER_REQUIRE(!out.empty(), "--drop-layers is empty; for example --drop-layers 16-31");
    return {out.begin(), out.end()};
}

}  // namespace espalier::prune
