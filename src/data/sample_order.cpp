#include "src/data/sample_order.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "src/core/exact.hpp"
#include "src/data/shuffle.hpp"

namespace espalier::data {
namespace {

// A start for every document would be most of the memory where documents are short; these are walked instead.
constexpr int64_t stride = 16;
constexpr int64_t most_indices = std::numeric_limits<uint32_t>::max() - 1;

// GPTDataset shuffles a last epoch of which less than this is needed by itself, after the whole ones.
constexpr double separate_below = 0.8;

struct Epochs {
    Epochs(int64_t tokens_per_epoch, int64_t count, int64_t seq_len)
        : number(std::max<int64_t>(1, div_ceil(count * seq_len + 1, tokens_per_epoch))),
          samples((number * tokens_per_epoch - 1) / seq_len),
          before_last(((number - 1) * tokens_per_epoch - 1) / seq_len) {
        const int64_t of_an_epoch = (tokens_per_epoch - 1) / seq_len;
        const auto threshold = static_cast<int64_t>(separate_below * static_cast<double>(of_an_epoch));
        last_is_separate = number > 1 && count - before_last < threshold;
    }

    int64_t number, samples, before_last;
    bool last_is_separate = false;
};

/// Documents 0 .. count - 1, `epochs` times, shuffled together.
void append_shuffled(std::vector<int32_t>& order, int64_t count, int64_t epochs, RandomState& generator) {
    const size_t begin = order.size();
    for (int64_t epoch = 0; epoch < epochs; ++epoch) {
        order.resize(order.size() + static_cast<size_t>(count));
        std::iota(order.end() - count, order.end(), 0);
    }
    shuffle(generator, std::span(order).subspan(begin));
}

}  // namespace

SampleOrder::SampleOrder(const Source& source, int64_t count, int64_t seq_len, uint32_t seed)
    : documents_(source.documents), seq_len_(seq_len) {
    const int64_t n = documents_->count(), tokens = token_count(*documents_);
    ESPALIER_REQUIRE(tokens > 0, "{} has no tokens; give it text, or leave it out", source.name);
    ESPALIER_REQUIRE(count <= most_indices && tokens / seq_len <= most_indices - count,
                     "{}: {} tokens make 2^32 samples of {} tokens or more; split the token file",
                     source.name, tokens, seq_len);
    const Epochs epochs(tokens, count, seq_len);
    ESPALIER_REQUIRE(n <= std::numeric_limits<int32_t>::max() && epochs.number <= most_indices / n,
                     "{}: {} documents in {} epochs are more than can be ordered; choose fewer samples",
                     source.name, n, epochs.number);

    RandomState generator(seed);
    order_.reserve(static_cast<size_t>(n * epochs.number));
    append_shuffled(order_, n, epochs.number - (epochs.last_is_separate ? 1 : 0), generator);
    if (epochs.last_is_separate) append_shuffled(order_, n, 1, generator);
    lay_end_to_end();

    cuts_.resize(static_cast<size_t>(epochs.samples));
    std::iota(cuts_.begin(), cuts_.end(), 0U);
    const auto together = static_cast<size_t>(epochs.last_is_separate ? epochs.before_last : epochs.samples);
    shuffle(generator, std::span(cuts_).first(together));
    shuffle(generator, std::span(cuts_).subspan(together));
}

void SampleOrder::lay_end_to_end() {
    int64_t position = 0;
    for (size_t i = 0; i < order_.size(); ++i) {
        if (i % stride == 0) starts_.push_back(position);
        position += documents_->length(order_[i]);
    }
}

void SampleOrder::read(int64_t index, std::span<int32_t> out) const {
    // GPTDataset stores (document, offset) of every cut; that is where this place in the stream lies,
    // whatever empty documents are on the way.
    const int64_t first = cuts_[index] * seq_len_;
    const auto after = std::ranges::upper_bound(starts_, first);
    auto at = static_cast<size_t>((after - starts_.begin() - 1) * stride);
    int64_t offset = first - *(after - 1);
    while (offset >= documents_->length(order_[at])) offset -= documents_->length(order_[at++]);
    while (!out.empty()) {
        const int64_t n = std::min<int64_t>(documents_->length(order_[at]) - offset, std::ssize(out));
        documents_->read(order_[at++], offset, out.first(static_cast<size_t>(n)));
        out = out.subspan(static_cast<size_t>(n));
        offset = 0;
    }
}

}  // namespace espalier::data
