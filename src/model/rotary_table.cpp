#include "src/model/rotary_table.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace espalier::model {

namespace {

/// The share of its own frequency that each pair keeps under yarn; the rest is that divided by the factor. In
/// f32, as the reference.
std::vector<float> kept_shares(const Architecture& a) {
    const RotaryScaling& s = a.rotary_scaling;
    const auto dim = static_cast<double>(a.rotary_dim);
    const auto pair_of = [&](double rotations) {
        return dim *
               std::log(static_cast<double>(s.original_positions) / (rotations * 2 * std::numbers::pi)) /
               (2 * std::log(a.rotary_base));
    };
    double low = pair_of(s.beta_fast), high = pair_of(s.beta_slow);
    if (s.truncate) {
        low = std::floor(low);
        high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, dim - 1);
    if (low == high) high += 0.001;
    std::vector<float> out;
    for (int64_t i = 0; i < a.rotary_dim / 2; ++i) {
        const float ramp = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
        out.push_back(1.0f - std::clamp(ramp, 0.0f, 1.0f));
    }
    return out;
}

}  // namespace

std::vector<double> rotary_frequencies(const Architecture& a) {
    const int64_t half = a.rotary_dim / 2;
    const auto& scaling = a.rotary_scaling;
    const auto kept = scaling.kind == RotaryScaling::Kind::yarn ? kept_shares(a) : std::vector<float>();
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
            case RotaryScaling::Kind::yarn: {
                const float share = kept[static_cast<size_t>(i)],
                            stretched = 1.0f / (static_cast<float>(scaling.factor) * power);
                f = static_cast<double>(stretched * (1.0f - share) + (1.0f / power) * share);
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
    const double factor = a.rotary_scaling.attention_factor;
    float* const cosines = table.cosines.data<float>();
    float* const sines = table.sines.data<float>();
    for (int64_t p = 0; p < positions; ++p) {
        for (int64_t i = 0; i < half; ++i) {
            const float angle = static_cast<float>(p) * static_cast<float>(frequencies[i]);
            cosines[p * half + i] = static_cast<float>(factor * std::cos(static_cast<double>(angle)));
            sines[p * half + i] = static_cast<float>(factor * std::sin(static_cast<double>(angle)));
        }
    }
    return {ctx.to_device(table.cosines), ctx.to_device(table.sines)};
}

}  // namespace espalier::model
