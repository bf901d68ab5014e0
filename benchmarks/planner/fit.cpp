#include "benchmarks/planner/fit.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/core/random.hpp"
#include "src/plan/step.hpp"

namespace espalier::benchmarks {
namespace {

using Point = std::vector<double>;

/// Between its bounds, on a logarithmic scale, through the logistic function.
double value(const Constant& c, double u) {
    return c.low * std::pow(c.high / c.low, 1 / (1 + std::exp(-u)));
}
double inverse(const Constant& c, double x) {
    const double t = std::clamp(std::log(x / c.low) / std::log(c.high / c.low), 0.02, 0.98);
    return std::log(t / (1 - t));
}

plan::System with(plan::System system, std::span<const Constant> constants, const Point& u) {
    for (size_t i = 0; i < constants.size(); ++i) constants[i].of(system) = value(constants[i], u[i]);
    return system;
}

double objective(const plan::System& system, std::span<const Measurement> rows) {
    std::vector<double> errors(rows.size());
#pragma omp parallel for schedule(dynamic, 16)
    for (size_t i = 0; i < rows.size(); ++i)
        errors[i] = std::abs(std::log(1 + relative_error(system, rows[i])));
    // In one order, however many threads there are.
    return std::accumulate(errors.begin(), errors.end(), 0.0) / static_cast<double>(rows.size());
}

struct Vertex {
    Point u;
    double f;
};

Vertex simplex(const std::function<double(const Point&)>& f, const Point& start) {
    const size_t n = start.size();
    std::vector<Vertex> v{{start, f(start)}};
    for (size_t i = 0; i < n; ++i) {
        Point p = start;
        p[i] += 0.7;
        v.push_back({p, f(p)});
    }
    const auto by_value = [](const Vertex& a, const Vertex& b) { return a.f < b.f; };
    for (size_t step = 0; step < 80 * n; ++step) {
        std::sort(v.begin(), v.end(), by_value);
        if (v.back().f - v.front().f < 1e-5) break;
        Point centre(n, 0.0);
        for (size_t k = 0; k < n; ++k)
            for (size_t i = 0; i < n; ++i) centre[i] += v[k].u[i] / static_cast<double>(n);
        const auto at = [&](double t) {
            Point p(n);
            for (size_t i = 0; i < n; ++i) p[i] = centre[i] + t * (v[n].u[i] - centre[i]);
            return Vertex{p, f(p)};
        };
        Vertex next = at(-1);
        if (next.f < v[0].f) {
            Vertex further = at(-2);
            if (further.f < next.f) next = std::move(further);
        } else if (next.f >= v[n - 1].f) {
            next = at(next.f < v[n].f ? -0.5 : 0.5);
        }
        if (next.f < v[n].f) {
            v[n] = std::move(next);
            continue;
        }
        for (size_t k = 1; k <= n; ++k) {
            for (size_t i = 0; i < n; ++i) v[k].u[i] = 0.5 * (v[k].u[i] + v[0].u[i]);
            v[k].f = f(v[k].u);
        }
    }
    return *std::min_element(v.begin(), v.end(), by_value);
}

/// The simplex restarted from its result until that gains nothing.
Vertex converge(const std::function<double(const Point&)>& f, const Point& start) {
    Vertex best = simplex(f, start);
    for (int restart = 0; restart < 3; ++restart) {
        Vertex next = simplex(f, best.u);
        const bool gained = next.f < best.f - 1e-4;
        if (next.f < best.f) best = std::move(next);
        if (!gained) break;
    }
    return best;
}

}  // namespace

double relative_error(const plan::System& system, const Measurement& m) {
    return plan::breakdown(system, *m.step, m.layout, *m.partition).sum() / m.seconds - 1;
}

plan::System fit(const plan::System& start, std::span<const Constant> constants,
                 std::span<const Measurement> rows) {
    const auto f = [&](const Point& u) { return objective(with(start, constants, u), rows); };
    plan::System copy = start;
    Point u;
    for (const Constant& c : constants) u.push_back(inverse(c, c.of(copy)));
    // A constant that ran to a bound early stays there, where nothing depends on it. Of fits about as good
    // the one near the system given counts: rows may not tell its constants apart.
    const Vertex near = converge(f, u), middle = converge(f, Point(u.size(), 0.0));
    return with(start, constants, middle.f < 0.5 * near.f ? middle.u : near.u);
}

std::vector<double> cross_validate(const plan::System& start, std::span<const Constant> constants,
                                   std::span<const Measurement> rows, int folds, Training training) {
    std::vector<size_t> order(rows.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [](size_t a, size_t b) { return mix64(a) < mix64(b); });
    const auto in_fold = [&](size_t place, int fold) {
        return static_cast<int>(place % static_cast<size_t>(folds)) == fold;
    };
    std::vector<double> errors;
    for (int fold = 0; fold < folds; ++fold) {
        std::vector<Measurement> fitted, held_out;
        for (size_t i = 0; i < order.size(); ++i)
            (in_fold(i, fold) == (training == Training::one_fold) ? fitted : held_out)
                .push_back(rows[order[i]]);
        const plan::System system = fit(start, constants, fitted);
        for (const auto& m : held_out) errors.push_back(relative_error(system, m));
    }
    return errors;
}

}  // namespace espalier::benchmarks
