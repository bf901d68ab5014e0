#include "src/prune/aggregate.hpp"

#include <algorithm>
#include <cmath>

#include "src/core/error.hpp"

namespace espalier::prune {

std::string to_string(Aggregator aggregator) {
    switch (aggregator) {
        case Aggregator::mean:
            return "mean";
        case Aggregator::l2:
            return "l2";
        case Aggregator::var:
            return "var";
    }
    throw InternalError("unknown aggregator");
}

Aggregator aggregator_from_string(const std::string& name, const char* option) {
    for (const Aggregator a : aggregators) {
        if (to_string(a) == name) return a;
    }
    fail("{} {}: unknown aggregator; known are mean, l2, var", option, name);
}

UnitSums::UnitSums(int64_t rows, int64_t columns)
    : rows_(rows), columns_(columns), sums_(static_cast<size_t>(2 * 3 * rows * columns), 0.0) {}

void UnitSums::add_sample(int64_t row, int64_t column, int64_t count, const float* moments, int64_t seq) {
    const double n = static_cast<double>(seq);
    const int64_t table = rows_ * columns_, at = row * columns_ + column;
    for (int64_t i = 0; i < count; ++i) {
        const double magnitude = moments[i], squares = moments[count + i], sum = moments[2 * count + i];
        const double mean = sum / n;
        const std::array<double, 3> value{magnitude / n, std::sqrt(squares),
                                          std::max(0.0, squares / n - mean * mean)};
        for (int64_t a = 0; a < 3; ++a) {
            const double v = value[a];
            sums_[2 * a * table + at + i] += v;
            sums_[(2 * a + 1) * table + at + i] += v * v;
        }
    }
}

std::vector<double> UnitSums::scores(AggregatorPair pair, int64_t samples) const {
    const double n = static_cast<double>(samples);
    const int64_t table = rows_ * columns_;
    const double* sum = sums_.data() + 2 * static_cast<int64_t>(pair.sequence) * table;
    const double* squares = sum + table;
    std::vector<double> out(static_cast<size_t>(table));
    for (int64_t i = 0; i < table; ++i) {
        const double mean = sum[i] / n;
        switch (pair.batch) {
            case Aggregator::mean:
                out[i] = mean;
                break;
            case Aggregator::l2:
                out[i] = std::sqrt(squares[i]);
                break;
            case Aggregator::var:
                out[i] = std::max(0.0, squares[i] / n - mean * mean);
                break;
        }
    }
    return out;
}

}  // namespace espalier::prune
