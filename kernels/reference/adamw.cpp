#include "kernels/reference/adamw.hpp"

#include <cmath>

namespace espalier::reference {

void adamw(const AdamWOptions& options, const Values& gradient, Values& master, Values& first,
           Values& second) {
    const double b1 = options.beta1, b2 = options.beta2, rate = options.learning_rate;
    const auto step = static_cast<double>(options.step);
    for (size_t i = 0; i < master.size(); ++i) {
        const double g = double{options.gradient_scale} * gradient[i];
        first[i] = b1 * first[i] + (1 - b1) * g;
        second[i] = b2 * second[i] + (1 - b2) * g * g;
        master[i] -= rate * double{options.weight_decay} * master[i];
        const double m = first[i] / (1 - std::pow(b1, step));
        const double v = second[i] / (1 - std::pow(b2, step));
        master[i] -= rate * m / (std::sqrt(v) + double{options.eps});
    }
}

}  // namespace espalier::reference
