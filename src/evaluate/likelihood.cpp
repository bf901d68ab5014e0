#include "src/evaluate/likelihood.hpp"

#include <algorithm>
#include <numeric>

#include "kernels/rows.hpp"
#include "src/model/logits.hpp"
#include "src/model/stage.hpp"

namespace espalier::evaluate {
namespace {

/// Tokens that go in, and how many of the last predictions count.
struct Prepared {
    std::vector<int32_t> tokens;  // context and continuation, shortened from the left
    int64_t scored = 0;
};

Prepared prepare(const LikelihoodRequest& r, int64_t max_positions) {
    Prepared out;
    out.tokens = r.context;
    out.tokens.insert(out.tokens.end(), r.continuation.begin(), r.continuation.end());
    const auto keep = static_cast<size_t>(max_positions + 1);
    if (out.tokens.size() > keep)
        out.tokens.erase(out.tokens.begin(), out.tokens.end() - static_cast<int64_t>(keep));
    out.scored = std::min(narrow<int64_t>(r.continuation.size()), narrow<int64_t>(out.tokens.size()) - 1);
    return out;
}

/// Scores a micro-batch on the last stage: only the rows of hidden states that predict a continuation meet
/// the head.
void score(Context& ctx, const model::Transformer& model, const Tensor& hidden, int64_t seq,
           const std::vector<Prepared>& batch, const std::vector<Likelihood*>& results) {
    std::vector<int32_t> rows, labels;
    for (size_t b = 0; b < batch.size(); ++b) {
        const auto& p = batch[b];
        const auto inputs = narrow<int64_t>(p.tokens.size()) - 1;
        for (int64_t i = inputs - p.scored; i < inputs; ++i) {
            rows.push_back(narrow<int32_t>(static_cast<int64_t>(b) * seq + i));
            labels.push_back(p.tokens[static_cast<size_t>(i + 1)]);
        }
    }
    Tensor picked = ctx.empty({std::ssize(rows), hidden.dim(1)}, hidden.dtype());
    gather_rows(ctx, hidden, model::ids_tensor(ctx, rows), picked);
    std::vector<int64_t> best;
    const auto losses = model::token_losses(ctx, model, picked, model::ids_tensor(ctx, labels), &best);
    size_t at = 0;
    for (size_t b = 0; b < batch.size(); ++b) {
        *results[b] = {0, true};
        for (int64_t i = 0; i < batch[b].scored; ++i, ++at) {
            results[b]->log_likelihood -= losses[at];
            results[b]->is_greedy = results[b]->is_greedy && best[at] == labels[at];
        }
    }
}

}  // namespace

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
    const int64_t max_positions = model.architecture().max_positions;
    std::vector<size_t> order(requests.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const auto length = [&](size_t i) {
        return requests[i].context.size() + requests[i].continuation.size();
    };
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return length(a) > length(b); });

    std::vector<std::vector<Likelihood>> results(static_cast<size_t>(variants),
                                                 std::vector<Likelihood>(requests.size()));
    const auto step = static_cast<size_t>(micro_batch), replicas = static_cast<size_t>(topology.layout.dp);
    for (size_t begin = step * static_cast<size_t>(topology.data.rank()); begin < order.size();
         begin += step * replicas) {
        const size_t end = std::min(begin + step, order.size());
        std::vector<Prepared> batch;
        size_t longest = 0;
        for (size_t i = begin; i < end; ++i) {
            batch.push_back(prepare(requests[order[i]], max_positions));
            longest = std::max(longest, batch.back().tokens.size());
        }
        const int64_t seq = narrow<int64_t>(longest) - 1;
        std::vector<int32_t> ids;
        for (const auto& p : batch) {
            ids.insert(ids.end(), p.tokens.begin(), p.tokens.end() - 1);
            ids.resize(ids.size() + (longest - p.tokens.size()), 0);
        }
        const auto tokens = model::make_batch(ctx, ids, narrow<int64_t>(batch.size()), seq);
        forward(tokens, [&](int64_t variant, const Tensor& hidden) {
            std::vector<Likelihood*> into;
            for (size_t i = begin; i < end; ++i)
                into.push_back(&results.at(static_cast<size_t>(variant))[order[i]]);
            score(ctx, model, hidden, seq, batch, into);
        });
        progress(static_cast<int64_t>(end));
    }

    // Every result stands on the ranks of one replica's last stage; one of them speaks for it.
    for (auto& of_variant : results) {
        std::vector<double> flat(2 * of_variant.size(), 0.0);
        if (topology.last_stage() && topology.tensor.rank() == 0) {
            for (size_t i = 0; i < of_variant.size(); ++i) {
                flat[2 * i] = of_variant[i].log_likelihood;
                flat[2 * i + 1] = of_variant[i].is_greedy ? 1.0 : 0.0;
            }
        }
        topology.world.all_reduce(flat);
        for (size_t i = 0; i < of_variant.size(); ++i) of_variant[i] = {flat[2 * i], flat[2 * i + 1] != 0.0};
    }
    return results;
}

}  // namespace espalier::evaluate
