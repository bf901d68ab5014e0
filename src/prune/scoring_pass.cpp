#include "src/prune/scoring_pass.hpp"

#include <numeric>

#include "kernels/statistics.hpp"
#include "src/model/logits.hpp"

namespace espalier::prune {
namespace {

/// Both sides of a border between stages go through their messages in the same order: a batch's activations,
/// the inputs of layers before the border, the variants.
class Pass {
public:
    Pass(Context& ctx, model::Transformer& model, const comm::Topology& topology,
         const model::TokenBatch& tokens, const Tensor& labels, model::Outbox& outbox)
        : ctx_(ctx),
          model_(model),
          topology_(topology),
          tokens_(tokens),
          labels_(labels),
          outbox_(outbox),
          layers_(model.placement().layers()) {}

    /// The plain forward pass; keeps the input of every layer of this stage (and of `history` layers before
    /// it). The final hidden states [T, H] on the last stage.
    Tensor forward(model::Observer* observer, int64_t history) {
        Tensor x = model::enter_stage(ctx_, model_, topology_, tokens_);
        receive_history(history);
        for (int64_t l = layers_.begin; l < layers_.end; ++l) {
            inputs_.push_back(x);
            x = model_.forward_layer(ctx_, l, x, tokens_, {.observer = observer});
        }
        output_ = x;
        if (topology_.last_stage()) return model_.final_hidden(ctx_, x, tokens_, nullptr, observer);
        pass_on(x);
        send_history(history);
        return {};
    }

    void add_cosines(const PassOptions& options, Scorer& scorer) {
        ScoreSums& sums = scorer.sums();
        const Timed timed = ctx_.computing();
        const auto compare = [&](const Tensor& in, const Tensor& out, double& sum) {
            Tensor cosines = ctx_.empty({in.dim(0)}, DType::f64);
            row_cosines(ctx_, in, out, cosines);
            scorer.add_later(cosines, [&sum](const Tensor& on_host) {
                const auto values = on_host.span<double>();
                sum += std::accumulate(values.begin(), values.end(), 0.0);
            });
        };
        for (int64_t l = layers_.begin; l < layers_.end; ++l) {
            const Tensor& out = l + 1 < layers_.end ? input(l + 1) : output_;
            if (options.influence) compare(input(l), out, sums.layer_cosine[l]);
            const int64_t first = l + 1 - options.block;  // of the block that ends with layer l
            if (options.block > 0 && first >= 0) compare(input(first), out, sums.block_cosine[first]);
        }
    }

    /// The model without layers [first, first + width), for each first in turn, up to the final norm:
    /// variants of earlier stages arrive, those whose first missing layer is of this stage start from its
    /// kept input, and all go on to the next. The last stage hands [T, H] of each to `emit`.
    void without(int64_t width, const EmitVariant& emit) {
        const int64_t starts = model_.architecture().depth() - width + 1;
        for (int64_t first = 0; first < std::min(starts, layers_.end); ++first) {
            Tensor x = first < layers_.begin ? receive() : input(first);
            for (int64_t l = std::max(first + width, layers_.begin); l < layers_.end; ++l)
                x = model_.forward_layer(ctx_, l, x, tokens_, {});
            if (topology_.last_stage()) {
                emit(first, model_.final_hidden(ctx_, x, tokens_));
            } else {
                pass_on(x);
            }
        }
    }

    void add_losses_without(int64_t width, std::vector<double>& into) {
        without(width, [&](int64_t first, const Tensor& hidden) { into[first] += loss(hidden); });
    }

    /// Sum over tokens; on one tensor parallel rank, so that adding ranks counts it once.
    double loss(const Tensor& hidden) {
        const auto losses = model::token_losses(ctx_, model_, hidden, labels_);
        return topology_.tensor.rank() == 0 ? std::accumulate(losses.begin(), losses.end(), 0.0) : 0.0;
    }

private:
    const Tensor& input(int64_t layer) const {
        const int64_t first = layers_.end - static_cast<int64_t>(inputs_.size());
        return inputs_.at(static_cast<size_t>(layer - first));
    }

    void pass_on(const Tensor& x) {
        outbox_.send(topology_.pipeline, x, topology_.stage() + 1, comm::activation_tag);
        outbox_.drain(8);
    }

    Tensor receive() {
        return model::receive_activation(ctx_, model_, topology_, tokens_, topology_.stage() - 1);
    }

    void receive_history(int64_t count) {
        for (int64_t l = std::max<int64_t>(0, layers_.begin - count); l < layers_.begin; ++l)
            inputs_.push_back(receive());
    }

    void send_history(int64_t count) {
        for (int64_t l = std::max<int64_t>(0, layers_.end - count); l < layers_.end; ++l) pass_on(input(l));
    }

    Context& ctx_;
    model::Transformer& model_;
    const comm::Topology& topology_;
    const model::TokenBatch& tokens_;
    Tensor labels_;
    model::Outbox& outbox_;
    Range layers_;
    std::vector<Tensor> inputs_;  // [Tl, H] of the last layers of this stage and those before it
    Tensor output_;
};

}  // namespace

void scoring_pass(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                  const model::TokenBatch& tokens, const Tensor& labels, const PassOptions& options,
                  Scorer& scorer, model::Outbox& outbox) {
    ScoreSums& sums = scorer.sums();
    Pass pass(ctx, model, topology, tokens, labels, outbox);
    const Tensor hidden = pass.forward(&scorer, std::max<int64_t>(0, options.block - 1));
    pass.add_cosines(options, scorer);
    scorer.begin_collect(ctx);  // adds the batch before, while a device works on this one
    if (hidden) sums.loss += pass.loss(hidden);
    if (options.loss_without) pass.add_losses_without(1, sums.loss_without);
    if (options.loss_without_blocks) pass.add_losses_without(options.block, sums.loss_without_blocks);
    if (topology.last_stage() && topology.tensor.rank() == 0) {
        sums.tokens += static_cast<double>(tokens.tokens());
        sums.samples += static_cast<double>(tokens.batch);
    }
}

void pass_without(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                  const model::TokenBatch& tokens, int64_t width, model::Outbox& outbox,
                  const EmitVariant& emit) {
    Pass pass(ctx, model, topology, tokens, {}, outbox);
    const Tensor hidden = pass.forward(nullptr, 0);
    if (hidden) emit(model.architecture().depth() - width + 1, hidden);
    pass.without(width, emit);
}

}  // namespace espalier::prune
