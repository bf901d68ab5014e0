#include "src/evaluate/generation.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/core/error.hpp"
#include "src/core/random.hpp"
#include "src/model/logits.hpp"
#include "src/model/stage.hpp"

namespace espalier::evaluate {
namespace {

class CachedModel {
public:
    CachedModel(Context& ctx, model::Transformer& model, const comm::Topology& topology, int64_t capacity)
        : ctx_(ctx), model_(model), topology_(topology) {
        const Range layers = model.placement().layers();
        for (int64_t i = layers.begin; i < layers.end; ++i) {
            const int64_t width = model.layer(i).cache_width();
            caches_.push_back(
                {ctx.zeros({capacity, width}, model.dtype()), ctx.zeros({capacity, width}, model.dtype())});
        }
    }

    /// Runs new tokens; the last token's hidden state [1, H] on the last stage, empty elsewhere.
    Tensor forward(const std::vector<int32_t>& ids) {
        const auto n = narrow<int64_t>(ids.size());
        const auto tokens = model::make_batch(ctx_, ids, 1, n, length_);
        length_ += n;
        Tensor x = model::enter_stage(ctx_, model_, topology_, tokens);
        const Range layers = model_.placement().layers();
        for (int64_t i = layers.begin; i < layers.end; ++i) {
            const model::CacheUse use{&caches_[static_cast<size_t>(i - layers.begin)], length_};
            x = model_.forward_layer(ctx_, i, x, tokens, {.cache = &use});
        }
        if (topology_.last_stage()) return model_.final_hidden(ctx_, x, tokens).rows(n - 1, 1);
        outbox_.send(topology_.pipeline, x, topology_.stage() + 1, comm::activation_tag);
        outbox_.drain();
        return {};
    }

private:
    Context& ctx_;
    model::Transformer& model_;
    const comm::Topology& topology_;
    std::vector<model::LayerCache> caches_;
    int64_t length_ = 0;
    model::Outbox outbox_;
};

/// All logits of a row, from every rank's part of the vocabulary.
std::vector<float> gather_logits(Context& ctx, const model::Transformer& model, const Tensor& local) {
    const Tensor column = local.view({local.size(), 1});
    const Tensor all = ctx.to_host(model.tensor().all_gather(ctx, column, model.architecture().vocab));
    return {all.data<float>(), all.data<float>() + all.size()};
}

/// -1 where a logit is no number.
int32_t sample(const std::vector<float>& logits, const GenerationOptions& options, uint64_t counter) {
    if (std::any_of(logits.begin(), logits.end(), [](float z) { return std::isnan(z); })) return -1;
    std::vector<int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
    });
    const auto largest = static_cast<double>(logits[static_cast<size_t>(order[0])]);
    std::vector<double> weights;
    double total = 0;
    for (const int32_t id : order) {
        weights.push_back(
            std::exp((static_cast<double>(logits[static_cast<size_t>(id)]) - largest) / options.temperature));
        total += weights.back();
    }
    // The smallest set of likeliest tokens that holds top_p of the probability (Holtzman et al. 2020).
    double kept = 0;
    size_t count = 0;
    while (count < weights.size() && (count == 0 || kept < options.top_p * total)) kept += weights[count++];
    double at = uniform(options.seed, counter) * kept;
    for (size_t i = 0; i < count; ++i) {
        at -= weights[i];
        if (at < 0) return order[i];
    }
    return order[count - 1];
}

}  // namespace

std::vector<int32_t> generate(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                              const std::vector<int32_t>& prompt, const GenerationOptions& options) {
    const int64_t room = model.architecture().max_positions - narrow<int64_t>(prompt.size());
    const int64_t most = std::clamp<int64_t>(room, 0, options.max_tokens);
    CachedModel cached(ctx, model, topology, narrow<int64_t>(prompt.size()) + most);
    std::vector<int32_t> out, next = prompt;
    while (narrow<int64_t>(out.size()) < most) {
        const Tensor hidden = cached.forward(next);
        double chosen = 0;  // of one rank, which speaks for all
        if (hidden) {
            const bool speaks = topology.tensor.rank() == 0 && topology.data.rank() == 0;
            const Tensor z = model::logits(ctx, model, hidden);
            if (options.temperature > 0) {
                const auto whole = gather_logits(ctx, model, z);
                if (speaks) chosen = sample(whole, options, out.size());
            } else {
                const int64_t best = model::argmax(ctx, model.tensor(), z, model.vocabulary().begin)[0];
                if (speaks) chosen = static_cast<double>(best);
            }
        }
        topology.world.all_reduce({&chosen, 1});
        const auto id = static_cast<int32_t>(chosen);
        ESPALIER_REQUIRE(id >= 0,
                         "the model's logits are not numbers after {} tokens; are its weights damaged?",
                         narrow<int64_t>(prompt.size()) + std::ssize(out));
        if (std::find(options.stop.begin(), options.stop.end(), id) != options.stop.end()) break;
        out.push_back(id);
        next = {id};
    }
    return out;
}

}  // namespace espalier::evaluate
