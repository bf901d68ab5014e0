#include "src/search/halving.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "src/core/exact.hpp"

namespace espalier::search {
namespace {

double comparable(double loss) {
    return std::isnan(loss) ? std::numeric_limits<double>::infinity() : loss;
}

}  // namespace

std::vector<int64_t> rungs(int64_t candidates, int64_t steps, int64_t multiple, int64_t count) {
    if (count == 0) {
        count = 1;
        for (int64_t left = candidates; left > 1; left = div_ceil<int64_t>(left, 2)) ++count;
    }
    std::vector<int64_t> out{steps};
    double share = static_cast<double>(steps);
    for (int64_t r = 1; r < count; ++r) {
        share /= 2;
        const auto step = multiple * static_cast<int64_t>(std::ceil(share / static_cast<double>(multiple)));
        if (step >= out.back()) break;
        out.push_back(step);
    }
    std::reverse(out.begin(), out.end());
    return out;
}

std::optional<std::vector<int64_t>> survivors(const std::vector<int64_t>& entrants, const Losses& losses) {
    const auto missing = [&](int64_t k) { return !losses.contains(k); };
    if (std::any_of(entrants.begin(), entrants.end(), missing)) return std::nullopt;
    auto out = entrants;
    std::sort(out.begin(), out.end());
    std::stable_sort(out.begin(), out.end(), [&](int64_t x, int64_t y) {
        return comparable(losses.at(x)) < comparable(losses.at(y));
    });
    out.resize((out.size() + 1) / 2);
    while (out.size() > 1 && !std::isfinite(losses.at(out.back()))) out.pop_back();
    std::sort(out.begin(), out.end());
    return out;
}

std::vector<int64_t> ranking(const std::map<int64_t, Losses>& by_steps) {
    std::vector<int64_t> out;
    std::map<int64_t, double> furthest;
    for (auto rung = by_steps.rbegin(); rung != by_steps.rend(); ++rung) {
        std::vector<int64_t> here;
        for (const auto& [k, loss] : rung->second) {
            if (std::find(out.begin(), out.end(), k) == out.end()) here.push_back(k);
        }
        std::stable_sort(here.begin(), here.end(), [&](int64_t x, int64_t y) {
            return comparable(rung->second.at(x)) < comparable(rung->second.at(y));
        });
        out.insert(out.end(), here.begin(), here.end());
        furthest.insert(rung->second.begin(), rung->second.end());
    }
    std::stable_partition(out.begin(), out.end(), [&](int64_t k) { return std::isfinite(furthest.at(k)); });
    return out;
}

}  // namespace espalier::search
