// Finds the constants of a system (how much of its peaks programs get) from measured steps. No constant
// belongs to a row: all rows of a system share them.
#pragma once

#include <functional>
#include <span>

#include "benchmarks/planner/measurements.hpp"
#include "src/plan/system.hpp"

namespace espalier::benchmarks {

/// A number of a system that may move between two bounds, both above 0.
struct Constant {
    const char* name;
    double& (*of)(plan::System&);
    double low, high;
};

/// Predicted / measured - 1.
double relative_error(const plan::System& system, const Measurement& m);

/// The system whose constants minimise the mean of |log(predicted / measured)|: Nelder and Mead's simplex
/// (Computer Journal 7, 1965) from the system given, restarted from its result until that gains nothing;
/// and where that halves what is left, from the middle of all bounds. Deterministic.
plan::System fit(const plan::System& start, std::span<const Constant> constants,
                 std::span<const Measurement> rows);

enum class Training { one_fold, all_but_one_fold };

/// Relative errors on rows that were not fitted: rows are dealt to `folds` folds by a fixed shuffle, and for
/// each of them a system is fitted to it, or to all others, and asked about the rest.
std::vector<double> cross_validate(const plan::System& start, std::span<const Constant> constants,
                                   std::span<const Measurement> rows, int folds, Training training);

}  // namespace espalier::benchmarks
