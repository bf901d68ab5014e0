// Continuing a prompt, token by token, over a cache of keys and values.
#pragma once

#include <vector>

#include "src/comm/topology.hpp"
#include "src/model/transformer.hpp"

namespace espalier::evaluate {

struct GenerationOptions {
    int64_t max_tokens = 64;
    double temperature = 0;  ///< 0: the most likely token each time
    double top_p = 1;        ///< of the sampled distribution, when temperature > 0
    uint64_t seed = 0;
    std::vector<int32_t> stop;  ///< ids that end the text; not part of it
};

/// Collective; every rank gets the new tokens. `prompt` has at least one. Ends at a stop id, at max_tokens,
/// or where the model's positions end. Throws UserError where logits are no numbers.
std::vector<int32_t> generate(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                              const std::vector<int32_t>& prompt, const GenerationOptions& options);

}  // namespace espalier::evaluate
