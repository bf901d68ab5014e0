#include "src/train/pipeline.hpp"

#include <algorithm>
#include <deque>

#include "src/model/stage.hpp"

namespace espalier::train {
namespace {

enum Tag : int { forward_tag = 0, teacher_tag = 1, backward_tag = 2 };

class OneForwardOneBackward {
public:
    OneForwardOneBackward(Context& ctx, const comm::Topology& topology, model::Transformer& model,
                          model::Transformer* teacher, const LossFunction& loss)
        : ctx_(ctx), topology_(topology), model_(model), teacher_(teacher), loss_(loss) {}

    void forward(const MicroBatch& batch) {
        const Tensor teacher_hidden = teacher_ ? teacher_forward(batch) : Tensor();
        InFlight& flight = in_flight_.emplace_back();
        Tensor x = model::enter_stage(ctx_, model_, topology_, batch.tokens, forward_tag);
        x = model_.forward(ctx_, std::move(x), batch.tokens, &flight.saved);
        if (!topology_.last_stage()) {
            outbox_.send(topology_.pipeline, x, topology_.stage() + 1, forward_tag);
            return;
        }
        const Tensor hidden = model_.final_hidden(ctx_, x, batch.tokens, &flight.saved);
        flight.d_hidden = loss_(batch, hidden, teacher_hidden);
    }

    void backward(const MicroBatch& batch) {
        InFlight flight = std::move(in_flight_.front());
        in_flight_.pop_front();
        Tensor d_out;
        if (topology_.last_stage()) {
            d_out = model_.final_hidden_backward(ctx_, flight.d_hidden, flight.saved);
        } else {
            d_out = ctx_.empty({model::local_tokens(topology_, batch.tokens), model_.architecture().hidden},
                               model_.dtype());
            topology_.pipeline.receive(d_out, topology_.stage() + 1, backward_tag).wait();
        }
        const Tensor dx = model_.backward(ctx_, std::move(d_out), batch.tokens, flight.saved);
        if (topology_.first_stage()) {
            model_.embed_backward(ctx_, dx, batch.tokens);
        } else {
            outbox_.send(topology_.pipeline, dx, topology_.stage() - 1, backward_tag);
        }
        outbox_.drain(6);  // bounds the messages whose memory is held
    }

    void finish() { outbox_.drain(); }

private:
    struct InFlight {
        model::SavedStage saved;
        Tensor d_hidden;
    };

    Tensor teacher_forward(const MicroBatch& batch) {
        Tensor x = model::enter_stage(ctx_, *teacher_, topology_, batch.tokens, teacher_tag);
        x = teacher_->forward(ctx_, std::move(x), batch.tokens);
        if (topology_.last_stage()) return teacher_->final_hidden(ctx_, x, batch.tokens);
        outbox_.send(topology_.pipeline, x, topology_.stage() + 1, teacher_tag);
        return {};
    }

    Context& ctx_;
    const comm::Topology& topology_;
    model::Transformer& model_;
    model::Transformer* teacher_;
    const LossFunction& loss_;
    std::deque<InFlight> in_flight_;
    model::Outbox outbox_;
};

}  // namespace

void accumulate_gradients(Context& ctx, const comm::Topology& topology, model::Transformer& model,
                          model::Transformer* teacher, std::span<const MicroBatch> micro_batches,
                          const LossFunction& loss) {
    OneForwardOneBackward step(ctx, topology, model, teacher, loss);
    const size_t count = micro_batches.size();
    const size_t ahead = std::min(count, static_cast<size_t>(topology.layout.pp - 1 - topology.stage()));
    for (size_t i = 0; i < ahead; ++i) step.forward(micro_batches[i]);
    for (size_t i = ahead; i < count; ++i) {
        step.forward(micro_batches[i]);
        step.backward(micro_batches[i - ahead]);
    }
    for (size_t i = count - ahead; i < count; ++i) step.backward(micro_batches[i]);
    step.finish();
}

}  // namespace espalier::train
