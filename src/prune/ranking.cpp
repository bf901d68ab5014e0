#include "src/prune/ranking.hpp"

#include <algorithm>
#include <numeric>

namespace espalier::prune {

std::vector<int64_t> first_of(int64_t count) {
    std::vector<int64_t> out(static_cast<size_t>(count));
    std::iota(out.begin(), out.end(), int64_t{0});
    return out;
}

std::vector<int64_t> ranked(const std::vector<double>& scores) {
    auto order = first_of(static_cast<int64_t>(scores.size()));
    std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) { return scores[x] > scores[y]; });
    return order;
}

std::vector<int64_t> best(const std::vector<double>& scores, int64_t count) {
    auto order = ranked(scores);
    order.resize(static_cast<size_t>(count));
    std::sort(order.begin(), order.end());
    return order;
}

}  // namespace espalier::prune
