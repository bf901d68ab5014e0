#include "src/model/stage.hpp"

namespace espalier::model {

Tensor enter_stage(Context& ctx, const Transformer& model, const comm::Topology& topology,
                   const TokenBatch& tokens) {
    if (topology.first_stage()) return model.embed(ctx, tokens);
    Tensor x = ctx.empty({local_tokens(topology, tokens), model.architecture().hidden}, model.dtype());
    topology.pipeline.receive(x, topology.stage() - 1, comm::activation_tag).wait();
    return x;
}

void Outbox::send(const comm::Communicator& pipeline, const Tensor& x, int to, int tag) {
    requests_.push_back(pipeline.send(x, to, tag));
}

void Outbox::drain(size_t left) {
    while (requests_.size() > left) {
        requests_.front().wait();
        requests_.erase(requests_.begin());
    }
}

Tensor forward_pipeline(Context& ctx, Transformer& model, const comm::Topology& topology,
                        const TokenBatch& tokens, Outbox& outbox, Observer* observer) {
    Tensor x = enter_stage(ctx, model, topology, tokens);
    x = model.forward(ctx, x, tokens, nullptr, observer);
    if (topology.last_stage()) return model.final_hidden(ctx, x, tokens, nullptr, observer);
    outbox.send(topology.pipeline, x, topology.stage() + 1, comm::activation_tag);
    outbox.drain(2);
    return {};
}

}  // namespace espalier::model
