// Importance of a unit from its activations: first along each sample's sequence, then across samples. All
// nine pairs of aggregators come out of one pass, from a sum and a sum of squares for each of the three
// sequence aggregators, about a centre that is one of their values: a variance keeps its digits where the
// mean is far from zero. (Muralidharan et al. 2024, section 2.2: mean (1/n) sum |s|, L2 sqrt(sum s^2),
// variance (1/n) sum (s - mean s)^2.)
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::prune {

enum class Aggregator { mean, l2, var };
inline constexpr std::array aggregators{Aggregator::mean, Aggregator::l2, Aggregator::var};
std::string_view to_string(Aggregator aggregator);
/// Throws UserError naming `option` for an unknown name.
Aggregator aggregator_from_string(const std::string& name, const char* option);

/// Batch first, as files and papers name a pair: "l2-mean" is L2 over the batch of means over the sequence.
struct AggregatorPair {
    Aggregator batch = Aggregator::l2;
    Aggregator sequence = Aggregator::mean;
    std::string name() const {
        return std::string(to_string(batch)) + "-" + std::string(to_string(sequence));
    }
};

/// What a table of units has gathered: rows of units (layers, norms) by columns (neurons, heads, channels).
class UnitSums {
public:
    UnitSums(int64_t rows, int64_t columns);

    /// Adds one sample: moments [3][count] = sum |s|, mean s, sum (s - mean)^2 over its `seq` tokens, for
    /// `count` units from (row, column) on.
    void add_sample(int64_t row, int64_t column, int64_t count, const double* moments, int64_t seq);

    /// rows x columns scores of the samples; 0 for a unit without.
    std::vector<double> scores(AggregatorPair pair) const;

    // Ranks' sums can be added once they are about the same centres. A unit's are not negative, and 0 where
    // there was no sample, so that the largest over ranks is one rank's.
    std::span<const double> centres() const { return centres_; }
    void recentre(std::span<const double> centres);
    std::span<double> sums() { return sums_; }
    std::span<double> counts() { return counts_; }

    int64_t rows() const { return rows_; }
    int64_t columns() const { return columns_; }

private:
    int64_t rows_, columns_;
    std::vector<double> centres_;  // [sequence aggregator][row][column]
    std::vector<double> sums_;     // [sequence aggregator][sum, sum of squares][row][column]
    std::vector<double> counts_;   // [row][column] samples
};

}  // namespace espalier::prune
