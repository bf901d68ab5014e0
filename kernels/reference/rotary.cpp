#include "kernels/reference/rotary.hpp"

namespace espalier::reference {

Values rotate(const Values& x, const Values& cosines, const Values& sines,
              const std::vector<int32_t>& positions, int64_t half, int64_t heads, int64_t head_dim,
              Rotation rotation) {
    Values out = x;
    const auto tokens = std::ssize(positions);
    for (int64_t i = 0; i < tokens; ++i) {
        const int64_t row = i * (std::ssize(x) / tokens), angle = positions[i] * half;
        for (int64_t head = 0; head < heads; ++head) {
            for (int64_t j = 0; j < half; ++j) {
                const int64_t low = row + head * head_dim + j, high = low + half;
                const double c = cosines[angle + j];
                const double s = rotation == Rotation::forward ? sines[angle + j] : -sines[angle + j];
                out[low] = x[low] * c - x[high] * s;
                out[high] = x[high] * c + x[low] * s;
            }
        }
    }
    return out;
}

}  // namespace espalier::reference
