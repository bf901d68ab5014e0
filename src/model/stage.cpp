#include "src/model/stage.hpp"

namespace espalier::model {

PipelineShape pipeline_shape(const comm::Topology& topology, const Transformer& model) {
    return {topology.layout.pp, topology.stage(), narrow<int>(model.placement().virtual_stages.size())};
}

Tensor empty_activation(Context& ctx, const Transformer& model, const comm::Topology& topology,
                        const TokenBatch& tokens) {
    return ctx.empty({local_tokens(topology, tokens), model.architecture().hidden}, model.dtype());
}

Tensor receive_activation(Context& ctx, const Transformer& model, const comm::Topology& topology,
                          const TokenBatch& tokens, int from) {
    Tensor x = empty_activation(ctx, model, topology, tokens);
    topology.pipeline.receive(x, from, comm::activation_tag).wait();
    return x;
}

Tensor enter_stage(Context& ctx, const Transformer& model, const comm::Topology& topology,
                   const TokenBatch& tokens) {
    if (topology.first_stage()) return model.embed(ctx, tokens);
    return receive_activation(ctx, model, topology, tokens, topology.stage() - 1);
}

void Outbox::send(const comm::Communicator& pipeline, const Tensor& x, int to, int tag) {
    requests_.push_back(pipeline.send(x, to, tag));
}

void Outbox::drain(size_t left) {
    while (!requests_.empty() && (requests_.size() > left || requests_.front().test())) {
        requests_.front().wait();
        requests_.pop_front();
    }
}

Tensor forward_pipeline(Context& ctx, Transformer& model, const comm::Topology& topology,
                        const TokenBatch& tokens, Outbox& outbox) {
    return forward_pipeline(ctx, model, topology, {&tokens, 1}, outbox).front();
}

std::vector<Tensor> forward_pipeline(Context& ctx, Transformer& model, const comm::Topology& topology,
                                     std::span<const TokenBatch> group, Outbox& outbox) {
    const PipelineShape shape = pipeline_shape(topology, model);
    std::vector<Tensor> hidden(group.size());
    for (int virtual_stage = 0; virtual_stage < shape.virtual_stages; ++virtual_stage) {
        for (size_t m = 0; m < group.size(); ++m) {
            const TokenBatch& tokens = group[m];
            Tensor x = virtual_stage == 0
                           ? enter_stage(ctx, model, topology, tokens)
                           : receive_activation(ctx, model, topology, tokens, shape.stage_before());
            x = model.forward(ctx, std::move(x), tokens, nullptr, nullptr, virtual_stage);
            if (shape.is_last(virtual_stage)) {
                hidden[m] = model.final_hidden(ctx, x, tokens, nullptr, nullptr);
            } else {
                outbox.send(topology.pipeline, x, shape.stage_after(), comm::activation_tag);
                outbox.drain(2);
            }
        }
    }
    return hidden;
}

}  // namespace espalier::model
