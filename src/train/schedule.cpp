#include "src/train/schedule.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "src/core/names.hpp"

namespace espalier::train {
namespace {

constexpr std::array decays{
    Named{Decay::cosine, "cosine"}, Named{Decay::linear, "linear"}, Named{Decay::constant, "constant"},
    Named{Decay::inverse_square_root, "inverse-square-root"}, Named{Decay::wsd, "wsd"}};
constexpr std::array annealings{Named{Annealing::exponential, "exponential"},
                                Named{Annealing::linear, "linear"}, Named{Annealing::cosine, "cosine"},
                                Named{Annealing::minus_sqrt, "minus-sqrt"}};

double half_cosine(double x) {
    return 0.5 * (1.0 + std::cos(std::numbers::pi * x));
}

/// From 1 to 0.
double annealed(Annealing annealing, double x) {
    switch (annealing) {
        case Annealing::exponential:
            return 2.0 * std::pow(0.5, x) - 1.0;
        case Annealing::linear:
            return 1.0 - x;
        case Annealing::cosine:
            return half_cosine(x);
        case Annealing::minus_sqrt:
            return 1.0 - std::sqrt(x);
    }
    throw InternalError("unknown annealing");
}

/// Where in wsd's last steps a step is: 0 before them, 1 at the end.
double annealing_done(const Schedule& s, int64_t step) {
    const int64_t wanted = s.annealing_steps > 0 ? s.annealing_steps : s.steps / 10,
                  count = std::clamp<int64_t>(wanted, 1, s.steps), first = s.steps - count;
    return step <= first ? 0.0 : static_cast<double>(step - first) / static_cast<double>(count);
}

}  // namespace

Decay decay_from_string(const std::string& name, const char* option) {
    return chosen(decays, name, option);
}

Annealing annealing_from_string(const std::string& name, const char* option) {
    return chosen(annealings, name, option);
}

double learning_rate(const Schedule& s, int64_t step) {
    if (step <= s.warmup_steps)
        return s.peak * static_cast<double>(step) / static_cast<double>(s.warmup_steps);
    const auto between = [&](double share) { return s.floor + share * (s.peak - s.floor); };
    const double done = s.steps <= s.warmup_steps ? 1.0
                                                  : static_cast<double>(step - s.warmup_steps) /
                                                        static_cast<double>(s.steps - s.warmup_steps);
    switch (s.decay) {
        case Decay::cosine:
            return between(half_cosine(done));
        case Decay::linear:
            return between(1.0 - done);
        case Decay::constant:
            return s.peak;
        case Decay::inverse_square_root: {
            const auto warmup = static_cast<double>(std::max<int64_t>(1, s.warmup_steps));
            return std::max(s.floor, s.peak * std::sqrt(warmup / static_cast<double>(step)));
        }
        case Decay::wsd:
            return between(annealed(s.annealing, annealing_done(s, step)));
    }
    throw InternalError("unknown decay");
}

double clipping(double norm, double most) {
    return most > 0 ? std::min(1.0, most / (norm + 1e-6)) : 1.0;
}

}  // namespace espalier::train
