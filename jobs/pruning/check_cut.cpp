#include "jobs/pruning/check_cut.hpp"

#include <algorithm>
#include <cmath>

#include "jobs/data/tokens.hpp"
#include "src/core/error.hpp"
#include "src/model/logits.hpp"
#include "src/model/stage.hpp"
#include "src/prune/mask.hpp"

namespace espalier::jobs {
namespace {

constexpr int64_t most_tokens = 64;
/// Rows of logits that are brought together at a time.
constexpr int64_t rows_at_a_time = 8;

/// Logits [tokens, ids of `kept`] of a batch on the last stage, from all tensor parallel ranks; empty
/// elsewhere.
std::vector<float> all_logits(Session& session, model::Transformer& model, const model::TokenBatch& tokens,
                              const std::vector<int64_t>& kept) {
    Context& ctx = session.context();
    const auto& topology = session.topology();
    model::Outbox outbox;
    const Tensor hidden = model::forward_pipeline(ctx, model, topology, tokens, outbox);
    outbox.drain();
    std::vector<float> out;
    if (!hidden) return out;
    const int64_t vocab = model.architecture().vocab, first_id = model.vocabulary().begin;
    for (int64_t first = 0; first < hidden.dim(0); first += rows_at_a_time) {
        const int64_t rows = std::min(rows_at_a_time, hidden.dim(0) - first);
        const Tensor part = model::logits(ctx, model, hidden.rows(first, rows));
        std::vector<double> whole(static_cast<size_t>(rows * vocab), 0.0);
        for (int64_t r = 0; r < rows; ++r) {
            std::copy_n(part.data<float>() + r * part.dim(1), part.dim(1),
                        whole.begin() + r * vocab + first_id);
        }
        topology.tensor.all_reduce(whole);
        for (int64_t r = 0; r < rows; ++r) {
            for (const int64_t id : kept)
                out.push_back(static_cast<float>(whole[static_cast<size_t>(r * vocab + id)]));
        }
    }
    return out;
}

double mean_loss(const std::vector<float>& logits, const std::vector<int32_t>& labels) {
    const size_t ids = logits.size() / labels.size();
    double sum = 0;
    for (size_t r = 0; r < labels.size(); ++r) {
        const float* row = logits.data() + r * ids;
        const double top = *std::max_element(row, row + ids);
        double total = 0;
        for (size_t i = 0; i < ids; ++i) total += std::exp(double{row[i]} - top);
        sum += top + std::log(total) - double{row[labels[r]]};
    }
    return sum / static_cast<double>(labels.size());
}

/// Tokens in the cut model's ids.
std::vector<int32_t> cut_tokens(const std::string& prefix, const model::Architecture& source,
                                const std::vector<int64_t>& vocab) {
    auto ids = read_tokens(prefix, source.vocab, End::first, std::min(most_tokens, source.max_positions) + 1);
    ESPALIER_REQUIRE(ids.size() >= 2, "--check {}: {} tokens; it needs at least 2", prefix, ids.size());
    for (int32_t& id : ids) {
        const auto at = std::lower_bound(vocab.begin(), vocab.end(), id);
        const bool stays = at != vocab.end() && *at == id;
        id = narrow<int32_t>(stays ? at - vocab.begin() : id % std::ssize(vocab));
    }
    return ids;
}

/// Whether any weight was more than copied, and then rounded.
bool rounded(const ModelFile& source, const prune::Kept& kept) {
    if (kept.pairs.empty() && kept.head_dims.empty()) return false;
    const auto parameters = model::parameters(source.architecture());
    return std::any_of(parameters.begin(), parameters.end(), [&](const model::Parameter& p) {
        return (p.weight == model::Weight::query || p.weight == model::Weight::query_norm) &&
               source.stored_dtype(p) == DType::bf16;
    });
}

}  // namespace

CutCheck check_cut(Session& session, ModelFile& source, const prune::Kept& kept, ModelFile& cut,
                   const std::string& prefix, double tolerance) {
    const auto& a = source.architecture();
    if (!same_function(cut.architecture(), prune::shape(a, kept)))
        throw InternalError(cut.path() + " has another shape than was asked for");
    const auto ids = cut_tokens(prefix, a, kept.vocab);
    const std::vector<int32_t> inputs(ids.begin(), ids.end() - 1), labels(ids.begin() + 1, ids.end());
    std::vector<int32_t> source_inputs;
    source_inputs.reserve(inputs.size());
    for (const int32_t id : inputs)
        source_inputs.push_back(narrow<int32_t>(kept.vocab[static_cast<size_t>(id)]));
    const auto batch = [&](const std::vector<int32_t>& tokens) {
        return model::make_batch(session.context(), tokens, 1, std::ssize(tokens));
    };

    std::vector<float> got, expected;
    {
        const auto everything = prune::keep_all(cut.architecture());
        const auto model = load_cut(session, cut, everything, cut.architecture(), DType::f32);
        got = all_logits(session, *model, batch(inputs), everything.vocab);
    }
    {
        const auto model = load_cut(session, source, prune::combined_heads_only(a, kept),
                                    prune::masked_architecture(a, kept), DType::f32);
        prune::mask(*model, a, kept);
        expected = all_logits(session, *model, batch(source_inputs), kept.vocab);
    }
    CutCheck out;
    out.tolerance = tolerance > 0 ? tolerance : rounded(source, kept) ? 5e-2 : 1e-3;
    double largest = 0, squares = 0;
    for (size_t i = 0; i < got.size(); ++i) {
        const double difference = std::abs(double{got[i]} - double{expected[i]});
        if (!(difference <= largest)) largest = difference;
        if (std::isnan(largest)) break;
        squares += double{expected[i]} * double{expected[i]};
    }
    std::vector<double> facts{0, 0, 0};
    if (!got.empty()) {
        const double scale = std::sqrt(squares / static_cast<double>(got.size()));
        facts = {largest == 0 ? 0 : largest / scale, mean_loss(got, labels), mean_loss(expected, labels)};
        if (!std::isfinite(facts[0])) facts[0] = INFINITY;
    }
    session.world().all_reduce(facts, comm::Reduction::max);
    out.max_error = facts[0];
    out.loss = facts[1];
    out.masked_loss = facts[2];
    return out;
}

}  // namespace espalier::jobs
