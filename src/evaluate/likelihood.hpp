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

/// Tokens of a request that go through a model of so many positions: all but the last, and where these are
/// too many the last of them.
int64_t inputs_of(const LikelihoodRequest& r, int64_t max_positions);

/// Collective; the same results, in the order of the requests, on every rank. Where context and continuation
/// exceed max_positions + 1 tokens, the context loses its beginning, and where it is gone the continuation,
/// of which the rest is scored. Requests of similar length share a micro-batch, padded on the right, which
/// causal attention does not see.
std::vector<Likelihood> likelihoods(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                                    const std::vector<LikelihoodRequest>& requests, int64_t micro_batch,
                                    const std::function<void(int64_t done)>& progress);

/// Sends a micro-batch through variants of a model. Collective over one replica; on its last stage each
/// variant's final hidden states [T, H] go to `emit`.
using ForwardVariants = std::function<void(
    const model::TokenBatch& tokens, const std::function<void(int64_t variant, const Tensor& hidden)>& emit)>;

/// The same for several variants that share the model's head: results [variant][request].
std::vector<std::vector<Likelihood>> likelihoods(Context& ctx, const model::Transformer& model,
                                                 const comm::Topology& topology,
                                                 const std::vector<LikelihoodRequest>& requests,
                                                 int64_t micro_batch, int64_t variants,
                                                 const ForwardVariants& forward,
                                                 const std::function<void(int64_t done)>& progress);

}  // namespace espalier::evaluate
