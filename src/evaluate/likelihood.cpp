#include "src/evaluate/likelihood.hpp"

#include <algorithm>
#include <numeric>
#include <span>

#include "kernels/rows.hpp"
#include "src/model/logits.hpp"
#include "src/model/stage.hpp"

namespace espalier::evaluate {
namespace {

/// Context and continuation, shortened from the left to what predicts and the last that is predicted.
std::vector<int32_t> shortened(const LikelihoodRequest& r, int64_t max_positions) {
    std::vector<int32_t> out = r.context;
    out.insert(out.end(), r.continuation.begin(), r.continuation.end());
    out.erase(out.begin(), out.end() - (inputs_of(r, max_positions) + 1));
    return out;
}

/// The longest first, so that those of a micro-batch are of similar length.
std::vector<size_t> by_length(const std::vector<LikelihoodRequest>& requests) {
    const auto length = [&](size_t i) {
        return requests[i].context.size() + requests[i].continuation.size();
    };
    std::vector<size_t> order(requests.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return length(a) > length(b); });
    return order;
}

/// Requests that go through the model together, padded on the right.
struct Batch {
    std::span<const size_t> requests;
    model::TokenBatch tokens;
    std::vector<int64_t> scored;    ///< of each request, how many of its last predictions count
    std::vector<int32_t> labels;    ///< what these should be, of one request after the other
    Tensor rows, labels_on_device;  ///< of the hidden states that predict them
};

Batch batch_of(Context& ctx, const std::vector<LikelihoodRequest>& requests, std::span<const size_t> chosen,
               int64_t max_positions) {
    Batch out;
    out.requests = chosen;
    const int64_t seq = inputs_of(requests[chosen.front()], max_positions);  // the longest
    std::vector<int32_t> ids, rows;
    for (const size_t request : chosen) {
        const auto tokens = shortened(requests[request], max_positions);
        const int64_t inputs = std::ssize(tokens) - 1,
                      scored = std::min(std::ssize(requests[request].continuation), inputs),
                      first = std::ssize(ids);
        for (int64_t i = inputs - scored; i < inputs; ++i) rows.push_back(narrow<int32_t>(first + i));
        out.labels.insert(out.labels.end(), tokens.end() - scored, tokens.end());
        out.scored.push_back(scored);
        ids.insert(ids.end(), tokens.begin(), tokens.end() - 1);
        ids.resize(static_cast<size_t>(first + seq), 0);
    }
    out.tokens = model::make_batch(ctx, ids, std::ssize(chosen), seq);
    out.rows = model::ids_tensor(ctx, rows);
    out.labels_on_device = model::ids_tensor(ctx, out.labels);
    return out;
}

/// Scores a micro-batch on the last stage: only the rows of hidden states that predict a continuation meet
/// the head.
void score(Context& ctx, const model::Transformer& model, const Tensor& hidden, const Batch& batch,
           std::vector<Likelihood>& results) {
    Tensor picked = ctx.empty({std::ssize(batch.labels), hidden.dim(1)}, hidden.dtype());
    gather_rows(ctx, hidden, batch.rows, picked);
    std::vector<int64_t> best;
    const auto losses = model::token_losses(ctx, model, picked, batch.labels_on_device, &best);
    size_t at = 0;
    for (size_t b = 0; b < batch.requests.size(); ++b) {
        Likelihood result{0, true};
        for (int64_t i = 0; i < batch.scored[b]; ++i, ++at) {
            result.log_likelihood -= losses[at];
            result.is_greedy = result.is_greedy && best[at] == batch.labels[at];
        }
        results[batch.requests[b]] = result;
    }
}

/// Every result stands on the ranks of one replica's last stage; one of them speaks for it.
void join(std::vector<std::vector<Likelihood>>& results, const comm::Topology& topology) {
    std::vector<double> flat;
    const bool speaks = topology.last_stage() && topology.tensor.rank() == 0;
    for (const auto& of_variant : results) {
        for (const auto& r : of_variant)
            flat.insert(flat.end(), {speaks ? r.log_likelihood : 0.0, speaks && r.is_greedy ? 1.0 : 0.0});
    }
    topology.world.all_reduce(flat);
    const double* at = flat.data();
    for (auto& of_variant : results) {
        for (auto& r : of_variant) {
            r = {at[0], at[1] != 0.0};
            at += 2;
        }
    }
}

}  // namespace

int64_t inputs_of(const LikelihoodRequest& r, int64_t max_positions) {
    return std::min(std::ssize(r.context) + std::ssize(r.continuation) - 1, max_positions);
}

std::vector<Likelihood> likelihoods(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                                    const std::vector<LikelihoodRequest>& requests, int64_t micro_batch,
                                    const std::function<void(int64_t done)>& progress) {
    model::Outbox outbox;
    const auto forward = [&](const model::TokenBatch& tokens, const auto& emit) {
        const Tensor hidden = model::forward_pipeline(ctx, model, topology, tokens, outbox);
        if (hidden) emit(0, hidden);
    };
    auto results = likelihoods(ctx, model, topology, requests, micro_batch, 1, forward, progress);
    outbox.drain();
    return std::move(results.front());
}

std::vector<std::vector<Likelihood>> likelihoods(Context& ctx, const model::Transformer& model,
                                                 const comm::Topology& topology,
                                                 const std::vector<LikelihoodRequest>& requests,
                                                 int64_t micro_batch, int64_t variants,
                                                 const ForwardVariants& forward,
                                                 const std::function<void(int64_t done)>& progress) {
    const auto order = by_length(requests);
    std::vector<std::vector<Likelihood>> results(static_cast<size_t>(variants),
                                                 std::vector<Likelihood>(requests.size()));
    const int64_t count = std::ssize(order), stride = micro_batch * topology.layout.dp;
    for (int64_t first = micro_batch * topology.data.rank(); first < count; first += stride) {
        const int64_t size = std::min(micro_batch, count - first);
        const auto chosen = std::span(order).subspan(static_cast<size_t>(first), static_cast<size_t>(size));
        const Batch batch = batch_of(ctx, requests, chosen, model.architecture().max_positions);
        forward(batch.tokens, [&](int64_t variant, const Tensor& hidden) {
            score(ctx, model, hidden, batch, results.at(static_cast<size_t>(variant)));
        });
        progress(first + size);
    }
    join(results, topology);
    return results;
}

}  // namespace espalier::evaluate
