#include "src/plan/calibrate.hpp"

#include <algorithm>
#include <vector>

#include "src/core/error.hpp"

namespace espalier::plan {
namespace {

/// y = intercept + slope x, least squares of the relative error.
struct Line {
    double intercept = 0;
    double slope = 0;
};

struct Point {
    double x, y;
};

Line fit_line(std::span<const Point> points) {
    double w = 0, wx = 0, wy = 0, wxx = 0, wxy = 0;
    for (const auto& [x, y] : points) {
        const double weight = 1 / (y * y);
        w += weight;
        wx += weight * x;
        wy += weight * y;
        wxx += weight * x * x;
        wxy += weight * x * y;
    }
    const double determinant = w * wxx - wx * wx;
    if (determinant <= 0) throw InternalError("a line needs two different points");
    const double slope = (w * wxy - wx * wy) / determinant;
    return {(wy - slope * wx) / w, slope};
}

}  // namespace

MatmulFit fit_matmul(std::span<const MatmulSample> samples) {
    std::vector<Point> points;
    double fastest = 0;
    for (const auto& s : samples) {
        points.push_back({1 / s.n, 1 / s.flops_per_second});
        fastest = std::max(fastest, s.flops_per_second);
    }
    const Line line = fit_line(points);
    // A machine whose small products are no slower: the curve is flat at the fastest.
    if (line.intercept <= 0 || line.slope <= 0) return {fastest, {1, 0, 1}};
    return {1 / line.intercept, {1, line.slope / line.intercept, 1}};
}

Link fit_all_reduce(std::span<const CollectiveSample> samples, int64_t ranks) {
    std::vector<Point> points;
    double best_slope = 0;
    for (const auto& s : samples) {
        points.push_back({s.bytes, s.seconds});
        const double slope = s.seconds / s.bytes;
        best_slope = best_slope == 0 ? slope : std::min(best_slope, slope);
    }
    Line line = fit_line(points);
    if (line.slope <= 0) line.slope = best_slope;
    const auto n = static_cast<double>(ranks);
    return {2 * (n - 1) / n / line.slope, 1, std::max(0.0, line.intercept) / (2 * (n - 1))};
}

}  // namespace espalier::plan
