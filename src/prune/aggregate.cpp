#include "src/prune/aggregate.hpp"

#include <cmath>

#include "src/core/names.hpp"

namespace espalier::prune {
namespace {

constexpr std::array names{Named{Aggregator::mean, "mean"}, Named{Aggregator::l2, "l2"},
                           Named{Aggregator::var, "var"}};

}  // namespace

std::string_view to_string(Aggregator aggregator) {
    return name_of(names, aggregator);
}

Aggregator aggregator_from_string(const std::string& name, const char* option) {
    return chosen(names, name, option);
}

UnitSums::UnitSums(int64_t rows, int64_t columns)
    : rows_(rows),
      columns_(columns),
      centres_(3 * rows * columns, 0.0),
      sums_(3 * 2 * rows * columns, 0.0),
      counts_(rows * columns, 0.0) {}

void UnitSums::add_sample(int64_t row, int64_t column, int64_t count, const double* moments, int64_t seq) {
    const double n = static_cast<double>(seq);
    const int64_t table = rows_ * columns_, at = row * columns_ + column;
    for (int64_t i = 0; i < count; ++i) {
        const double magnitude = moments[i], mean = moments[count + i], squares = moments[2 * count + i];
        const std::array<double, 3> value{magnitude / n, std::sqrt(squares + n * mean * mean), squares / n};
        const int64_t unit = at + i;
        for (int64_t a = 0; a < 3; ++a) {
            double& centre = centres_[a * table + unit];
            if (counts_[unit] == 0) centre = value[a];
            const double difference = value[a] - centre;
            sums_[2 * a * table + unit] += difference;
            sums_[(2 * a + 1) * table + unit] += difference * difference;
        }
        ++counts_[unit];
    }
}

void UnitSums::recentre(std::span<const double> centres) {
    const int64_t table = rows_ * columns_;
    for (int64_t i = 0; i < 3 * table; ++i) {
        const int64_t a = i / table, unit = i % table;
        const double n = counts_[unit], move = centres_[i] - centres[i];
        double &sum = sums_[2 * a * table + unit], &squares = sums_[(2 * a + 1) * table + unit];
        if (n > 0) squares += move * (2 * sum + n * move);
        if (n > 0) sum += n * move;
        centres_[i] = centres[i];
    }
}

std::vector<double> UnitSums::scores(AggregatorPair pair) const {
    const int64_t table = rows_ * columns_, sequence = static_cast<int64_t>(pair.sequence);
    const double* const centre = centres_.data() + sequence * table;
    const double* const sum = sums_.data() + 2 * sequence * table;
    const double* const squares = sum + table;
    std::vector<double> out(table, 0.0);
    for (int64_t i = 0; i < table; ++i) {
        const double n = counts_[i];
        if (n == 0) continue;
        const double mean = centre[i] + sum[i] / n;
        const double left = squares[i] - sum[i] * sum[i] / n;
        const double about_mean = left < 0 ? 0.0 : left;  // NaN stays, for who checks the scores
        switch (pair.batch) {
            case Aggregator::mean:
                out[i] = mean;
                break;
            case Aggregator::l2:
                out[i] = std::sqrt(about_mean + n * mean * mean);
                break;
            case Aggregator::var:
                out[i] = about_mean / n;
                break;
        }
    }
    return out;
}

}  // namespace espalier::prune
