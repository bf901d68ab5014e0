#include "kernels/reference/soft_cap.hpp"

#include <cmath>

namespace espalier::reference {

Values soft_cap(double cap, const Values& z) {
    Values out;
    for (const double x : z) out.push_back(cap * std::tanh(x / cap));
    return out;
}

Values soft_cap_backward(double cap, const Values& z, const Values& d) {
    Values out;
    for (size_t i = 0; i < z.size(); ++i) {
        const double t = std::tanh(z[i] / cap);
        out.push_back(d[i] * (1 - t * t));
    }
    return out;
}

}  // namespace espalier::reference
