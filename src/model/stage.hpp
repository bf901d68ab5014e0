// Activations on their way through the pipeline's stages.
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "src/comm/topology.hpp"
#include "src/model/transformer.hpp"

namespace espalier::model {

/// This rank's place in the pipeline over whose stages `model` is dealt.
PipelineShape pipeline_shape(const comm::Topology& topology, const Transformer& model);

/// Room for an activation [Tl, H] of these tokens.
Tensor empty_activation(Context& ctx, const Transformer& model, const comm::Topology& topology,
                        const TokenBatch& tokens);

/// An activation [Tl, H] from stage `from`; waits for it.
Tensor receive_activation(Context& ctx, const Transformer& model, const comm::Topology& topology,
                          const TokenBatch& tokens, int from);

/// The activation [Tl, H] that this stage starts from: the embedding on the first, else received from the one
/// before.
Tensor enter_stage(Context& ctx, const Transformer& model, const comm::Topology& topology,
                   const TokenBatch& tokens);

/// Messages on their way; a sender goes on at once and bounds how many it leaves behind.
class Outbox {
public:
    void send(const comm::Communicator& pipeline, const Tensor& x, int to, int tag);
    /// Waits, for the oldest first, until at most `left` messages are on their way. Those that have arrived
    /// keep no memory from then on.
    void drain(size_t left = 0);

private:
    std::deque<comm::Request> requests_;
};

/// A forward pass of one micro-batch through all stages, virtual ones too: the hidden states [T, H] on the
/// last stage, empty elsewhere.
Tensor forward_pipeline(Context& ctx, Transformer& model, const comm::Topology& topology,
                        const TokenBatch& tokens, Outbox& outbox);
/// The same of several, which go through a virtual stage one after the other before the next one: with one at
/// a time, stages wait while it goes round.
std::vector<Tensor> forward_pipeline(Context& ctx, Transformer& model, const comm::Topology& topology,
                                     std::span<const TokenBatch> group, Outbox& outbox);
/// As many as keep all stages at work. Not many more: what the last stage sends round is taken after a group,
/// and of groups of three times as many stages would wait for each other.
inline int64_t pipeline_group(const PipelineShape& shape) {
    return shape.virtual_stages == 1 ? 1 : shape.stages;
}

/// Rows of this rank's part of a batch's tokens.
inline int64_t local_tokens(const comm::Topology& topology, const TokenBatch& tokens) {
    return comm::my_rows(topology.tensor, tokens.tokens()).size();
}

}  // namespace espalier::model
