// The learning rate over the steps of a run.
#pragma once

#include <cstdint>

namespace espalier::train {

struct Schedule {
    double peak = 1e-4;
    double floor = 1e-5;
    int64_t warmup_steps = 0;
    int64_t steps = 1;
};

/// At step k = 1 .. steps: peak k / warmup up to the end of the warm-up, then half a cosine from peak to
/// floor.
double learning_rate(const Schedule& schedule, int64_t step);

/// What to multiply a gradient of this norm with so that it is at most `most`; 0: no limit.
double clipping(double norm, double most);

}  // namespace espalier::train
