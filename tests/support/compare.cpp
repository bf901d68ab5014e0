#include "tests/support/compare.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "src/core/random.hpp"
#include "tests/support/device.hpp"

namespace espalier::test {
namespace {

double rms(const Values& values) {
    double sum = 0;
    int64_t count = 0;
    for (const double v : values) {
        if (!std::isfinite(v)) continue;
        sum += v * v;
        ++count;
    }
    return count == 0 ? 0.0 : std::sqrt(sum / static_cast<double>(count));
}

/// Error as a share of what is allowed; above 1 fails.
double excess(double actual, double expected, double allowed) {
    if (std::isnan(actual) || std::isnan(expected)) return std::numeric_limits<double>::infinity();
    if (actual == expected) return 0.0;
    if (!std::isfinite(actual) || !std::isfinite(expected)) return std::numeric_limits<double>::infinity();
    return allowed > 0 ? std::abs(actual - expected) / allowed : std::numeric_limits<double>::infinity();
}

template <class F>
void visit_any(DType dtype, F&& f) {
    switch (dtype) {
        case DType::f32:
            return f(float{});
        case DType::bf16:
            return f(bfloat16{});
        case DType::i32:
            return f(int32_t{});
        case DType::f64:
            return f(double{});
        case DType::u8:
            return f(uint8_t{});
    }
}

template <class T>
T from_double(double value) {
    if constexpr (std::is_same_v<T, bfloat16>) {
        return bfloat16(static_cast<float>(value));
    } else {
        return static_cast<T>(value);
    }
}

template <class T>
double to_double(T value) {
    if constexpr (std::is_same_v<T, bfloat16>) {
        return static_cast<double>(static_cast<float>(value));
    } else {
        return static_cast<double>(value);
    }
}

}  // namespace

testing::AssertionResult near_each(const Values& actual, const Values& expected, const Values& allowed) {
    if (actual.size() != expected.size()) {
        return testing::AssertionFailure() << actual.size() << " elements, expected " << expected.size();
    }
    size_t worst = 0;
    double worst_excess = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
        const double e = excess(actual[i], expected[i], allowed.at(i));
        if (e > worst_excess) {
            worst = i;
            worst_excess = e;
        }
    }
    if (worst_excess <= 1) return testing::AssertionSuccess();
    return testing::AssertionFailure()
           << fmt::format("element {} of {} is {:.9g}, expected {:.9g}: {:.3g} times the allowed error",
                          worst, actual.size(), actual[worst], expected[worst], worst_excess);
}

testing::AssertionResult near_all(const Values& actual, const Values& expected, Tolerance tolerance) {
    const double scale = tolerance.of_scale * rms(expected) + tolerance.absolute;
    Values allowed;
    for (const double e : expected) allowed.push_back(tolerance.relative * std::abs(e) + scale);
    return near_each(actual, expected, allowed);
}

testing::AssertionResult near_all(const Tensor& actual, const Values& expected, Tolerance tolerance) {
    return near_all(values_of(actual), expected, tolerance);
}

testing::AssertionResult same_bits(const Tensor& actual, const Tensor& expected) {
    if (actual.shape() != expected.shape() || actual.dtype() != expected.dtype()) {
        return testing::AssertionFailure()
               << fmt::format("{} {}, expected {} {}", to_string(actual.dtype()), to_string(actual.shape()),
                              to_string(expected.dtype()), to_string(expected.shape()));
    }
    const size_t size = size_of(actual.dtype());
    const Tensor left = on_host(actual), right = on_host(expected);
    for (size_t i = 0; i < static_cast<size_t>(actual.size()); ++i) {
        if (std::memcmp(left.raw() + i * size, right.raw() + i * size, size) != 0) {
            return testing::AssertionFailure()
                   << fmt::format("element {} is {:.9g}, expected exactly {:.9g}", i, values_of(actual)[i],
                                  values_of(expected)[i]);
        }
    }
    return testing::AssertionSuccess();
}

Values values_of(const Tensor& tensor) {
    Values out;
    const Tensor host = on_host(tensor);
    visit_any(tensor.dtype(), [&]<class T>(T) {
        for (const T value : host.span<T>()) out.push_back(to_double(value));
    });
    return out;
}

Tensor tensor_of(Context& ctx, const Values& values, Shape shape, DType dtype) {
    Tensor out = ctx.empty_on_host(std::move(shape), dtype);
    if (out.size() != std::ssize(values)) throw InternalError("tensor_of: values do not fill the shape");
    visit_any(dtype, [&]<class T>(T) {
        for (size_t i = 0; i < values.size(); ++i) out.data<T>()[i] = from_double<T>(values[i]);
    });
    return ctx.to_device(out);
}

Values rounded_to(DType dtype, Values values) {
    visit_any(dtype, [&]<class T>(T) {
        for (double& value : values) value = to_double(from_double<T>(value));
    });
    return values;
}

Values random_values(int64_t count, uint64_t seed, double deviation) {
    Values out(static_cast<size_t>(count));
    for (size_t i = 0; i < out.size(); ++i) out[i] = deviation * normal(mix64(seed), i);
    return out;
}

}  // namespace espalier::test
