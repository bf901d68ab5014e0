// The learning rate over the steps of a run.
#pragma once

#include <cstdint>
#include <string>

namespace espalier::train {

/// From peak to floor, by Megatron-LM's names and formulas (optimizer_param_scheduler.py). x is the part of
/// the steps after the warm-up that is done.
enum class Decay {
    cosine,               ///< falls by (1 - cos(pi x)) / 2
    linear,               ///< falls by x
    constant,             ///< stays at the peak
    inverse_square_root,  ///< peak sqrt(warmup / k) at step k, not below the floor
    wsd,                  ///< stays at the peak, and anneals over the last steps alone (MiniCPM, 2024)
};
/// How the last steps of wsd fall; x is the part of them that is done.
enum class Annealing {
    exponential,  ///< falls by 2 - 2 (1/2)^x
    linear,       ///< by x
    cosine,       ///< by (1 - cos(pi x)) / 2
    minus_sqrt,   ///< by sqrt(x)
};
/// UserError for a name that is none, naming the option.
Decay decay_from_string(const std::string& name, const char* option);
Annealing annealing_from_string(const std::string& name, const char* option);

struct Schedule {
    double peak = 1e-4;
    double floor = 1e-5;
    int64_t warmup_steps = 0;
    int64_t steps = 1;
    Decay decay = Decay::cosine;
    Annealing annealing = Annealing::exponential;
    int64_t annealing_steps = 0;  ///< of wsd, at most all; 0: a tenth of the steps, at least one
};

/// At step k = 1 .. steps: peak k / warmup up to the end of the warm-up, then as `decay` says.
double learning_rate(const Schedule& schedule, int64_t step);

/// What to multiply a gradient of this norm with so that it is at most `most`; 0: no limit.
double clipping(double norm, double most);

}  // namespace espalier::train
