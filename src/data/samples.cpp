#include "src/data/samples.hpp"

#include <cmath>
#include <limits>
#include <optional>

#include "src/core/error.hpp"
#include "src/data/blend.hpp"
#include "src/data/sample_order.hpp"

namespace espalier::data {
namespace {

constexpr size_t most_sources = 32766;  // Megatron keeps the source in 16 bits

// Rounding may ask a source for a little more than its share (mid_level_dataset_surplus).
constexpr double surplus = 1.005;

int64_t share(int64_t count, double weight) {
    return static_cast<int64_t>(std::ceil(std::ceil(static_cast<double>(count) * weight) * surplus));
}

/// A file that is shorter than a sample is repeated, as by Megatron; all of them together must make one.
void check_tokens(const std::vector<Source>& sources, int64_t seq_len) {
    int64_t tokens = 0, documents = 0;
    for (const Source& source : sources) {
        tokens += token_count(*source.documents);
        documents += source.documents->count();
    }
    const std::string others = sources.size() == 1 ? "" : fmt::format(" and {} more", sources.size() - 1);
    ESPALIER_REQUIRE(tokens > seq_len,
                     "{}{}: {} tokens in {} documents, fewer than the {} of one sample; choose a shorter "
                     "--seq-len or more text",
                     sources.front().name, others, tokens, documents, seq_len + 1);
}

}  // namespace

struct Samples::State {
    int64_t count, seq_len;
    std::vector<Source> sources;
    std::vector<SampleOrder> orders;
    std::optional<Blend> blend;  ///< nothing for one source without a weight
};

Samples::Samples(std::vector<Source> sources, int64_t count, int64_t seq_len, uint32_t seed)
    : state_(new State{count, seq_len, std::move(sources), {}, {}}) {
    State& s = *state_;
    ESPALIER_REQUIRE(!s.sources.empty() && s.sources.size() <= most_sources,
                     "{} token files cannot be blended; give 1 to {}", s.sources.size(), most_sources);
    ESPALIER_REQUIRE(
        count > 0 && count < std::numeric_limits<uint32_t>::max() && seq_len > 0 &&
            seq_len < std::numeric_limits<int32_t>::max(),
        "cannot form {} samples of {} tokens: at most {} samples, of at most {} tokens, have numbers", count,
        seq_len, std::numeric_limits<uint32_t>::max() - 1, std::numeric_limits<int32_t>::max() - 1);
    check_tokens(s.sources, seq_len);
    if (s.sources.size() == 1 && !s.sources[0].weight) {
        s.orders.emplace_back(s.sources[0], count, seq_len, seed);
        return;
    }
    std::vector<double> weights;
    for (const Source& source : s.sources) {
        const double weight = source.weight.value_or(0);
        ESPALIER_REQUIRE(std::isfinite(weight) && weight > 0,
                         "{} has weight {}; weights must be positive numbers", source.name, weight);
        weights.push_back(weight);
    }
    weights = normalised(std::move(weights));
    for (size_t i = 0; i < weights.size(); ++i)
        s.orders.emplace_back(s.sources[i], share(count, weights[i]), seq_len, seed);
    // BlendedDataset normalises what its builder has normalised, which can change the last bit and so a tie.
    s.blend.emplace(normalised(std::move(weights)), count);
}

Samples::~Samples() = default;
Samples::Samples(Samples&&) noexcept = default;

int64_t Samples::count() const {
    return state_->count;
}
int64_t Samples::seq_len() const {
    return state_->seq_len;
}

void Samples::read(int64_t index, std::span<int32_t> out) const {
    const State& s = *state_;
    if (index < 0 || index >= s.count || std::ssize(out) != s.seq_len + 1) {
        throw InternalError(fmt::format("sample {} of {} into {} tokens", index, s.count, out.size()));
    }
    if (!s.blend) return s.orders[0].read(index, out);
    const auto source = s.blend->source[index];
    const SampleOrder& order = s.orders[source];
    const int64_t of_source = s.blend->index[index];
    ESPALIER_REQUIRE(of_source < order.count(), "the blend needs more of {} than its weight gives it",
                     s.sources[source].name);
    order.read(of_source, out);
}

Usage Samples::most_used(int64_t first) const {
    const State& s = *state_;
    std::vector<int64_t> taken(s.sources.size());
    if (s.blend) {
        for (int64_t i = 0; i < first; ++i) ++taken[s.blend->source[i]];
    } else {
        taken[0] = first;
    }
    Usage most;
    for (size_t i = 0; i < taken.size(); ++i) {
        const double epochs = static_cast<double>(taken[i]) * static_cast<double>(s.seq_len) /
                              static_cast<double>(token_count(*s.sources[i].documents));
        if (epochs > most.epochs) most = {s.sources[i].name, taken[i], epochs};
    }
    return most;
}

}  // namespace espalier::data
