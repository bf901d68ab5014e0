#include "kernels/reference/adamw.hpp"

#include <cmath>

namespace espalier::reference {

void adamw(const AdamWOptions& options, const Values& gradient, Values& master, Values& first_moment,
           Values& second_moment) {
    const double b1 = options.beta1, b2 = options.beta2, rate = options.learning_rate;
    const auto step = static_cast<double>(options.step);
    for (size_t i = 0; i < master.size(); ++i) {
        const double g = double{options.gradient_scale} * gradient[i];
        first_moment[i] = b1 * first_moment[i] + (1 - b1) * g;
        second_moment[i] = b2 * second_moment[i] + (1 - b2) * g * g;
        master[i] -= rate * double{options.weight_decay} * master[i];
        const double m = first_moment[i] / (1 - std::pow(b1, step));
        const double v = second_moment[i] / (1 - std::pow(b2, step));
        master[i] -= rate * m / (std::sqrt(v) + double{options.eps});
    }
}

}  // namespace espalier::reference
