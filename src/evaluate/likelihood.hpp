// How likely a model finds given continuations of given contexts: what multiple-choice tasks are scored by.
#pragma once

#include <functional>
#include <vector>

#include "src/comm/topology.hpp"
#include "src/model/transformer.hpp"

namespace espalier::evaluate {

struct LikelihoodRequest {
    std::vector<int32_t> context;       ///< at least one token
    std::vector<int32_t> continuation;  ///< at least one token
};

struct Likelihood {
    double log_likelihood = 0;  ///< sum of log p over the continuation
    bool is_greedy = false;     ///< whether each of its tokens is the most likely one
};

/// Collective; the same results, in the order of the requests, on every rank. Where context and continuation
/// exceed max_positions + 1 tokens, the context loses its beginning. Requests of similar length share a
/// micro-batch, padded on the right, which causal attention does not see.
std::vector<Likelihood> likelihoods(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                                    const std::vector<LikelihoodRequest>& requests, int64_t micro_batch,
                                    const std::function<void(int64_t done)>& progress);

}  // namespace espalier::evaluate
