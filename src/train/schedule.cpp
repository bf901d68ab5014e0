#include "src/train/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace espalier::train {

double learning_rate(const Schedule& s, int64_t step) {
    if (step <= s.warmup_steps)
        return s.peak * static_cast<double>(step) / static_cast<double>(s.warmup_steps);
    if (s.steps <= s.warmup_steps) return s.floor;
    const double done =
        static_cast<double>(step - s.warmup_steps) / static_cast<double>(s.steps - s.warmup_steps);
    return s.floor + 0.5 * (s.peak - s.floor) * (1.0 + std::cos(std::numbers::pi * done));
}

double clipping(double norm, double most) {
    return most > 0 ? std::min(1.0, most / (norm + 1e-6)) : 1.0;
}

}  // namespace espalier::train
