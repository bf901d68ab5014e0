#include "src/model/rotary_table.hpp"

#include <cmath>
#include <numbers>

namespace espalier::model {

std::vector<double> rotary_frequencies(const Architecture& a) {
    const int64_t half = a.rotary_dim / 2;
    const auto& scaling = a.rotary_scaling;
    std::vector<double> out;
    for (int64_t i = 0; i < half; ++i) {
        // The reference computes base^(2i/rd) and its inverse in f32; so do we, to agree to the last bit at
        // long positions.
        const float power = std::pow(static_cast<float>(a.rotary_base),
                                     static_cast<float>(2 * i) / static_cast<float>(a.rotary_dim));
        double f = static_cast<double>(1.0f / power);
        switch (scaling.kind) {
            case RotaryScaling::Kind::none:
                break;
            case RotaryScaling::Kind::linear:
                f /= scaling.factor;
                break;
            case RotaryScaling::Kind::llama3: {
                const double original = static_cast<double>(scaling.original_positions),
                             wavelength = 2.0 * std::numbers::pi / f;
                const double low = scaling.low_frequency_factor, high = scaling.high_frequency_factor;
                if (wavelength > original / low) {
                    f /= scaling.factor;
                } else if (wavelength >= original / high) {
                    const double s = (original / wavelength - low) / (high - low);
                    f = (1.0 - s) * f / scaling.factor + s * f;
                }
                break;
            }
        }
        out.push_back(f);
    }
    return out;
}

RotaryTable make_rotary_table(Context& ctx, const Architecture& a, int64_t positions) {
    const auto frequencies = rotary_frequencies(a);
    const auto half = static_cast<int64_t>(frequencies.size());
    const RotaryTable table{ctx.empty_on_host({positions, half}, DType::f32),
                            ctx.empty_on_host({positions, half}, DType::f32)};
    float* const cosines = table.cosines.data<float>();
    float* const sines = table.sines.data<float>();
    for (int64_t p = 0; p < positions; ++p) {
        for (int64_t i = 0; i < half; ++i) {
            const float angle = static_cast<float>(p) * static_cast<float>(frequencies[i]);
            cosines[p * half + i] = static_cast<float>(std::cos(static_cast<double>(angle)));
            sines[p * half + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
        }
    }
    return {ctx.to_device(table.cosines), ctx.to_device(table.sines)};
}

}  // namespace espalier::model
