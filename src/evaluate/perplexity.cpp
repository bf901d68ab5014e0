#include "src/evaluate/perplexity.hpp"

#include <algorithm>
#include <array>

#include "src/model/logits.hpp"
#include "src/model/stage.hpp"

namespace espalier::evaluate {
namespace {

struct LabelledBatch {
    model::TokenBatch tokens;
    Tensor labels;
    int64_t scored;
};

LabelledBatch make_batch(Context& ctx, std::span<const Window> windows, const data::DocumentMasks& masks,
                         const ReadTokens& read) {
    const int64_t batch = narrow<int64_t>(windows.size()), seq = windows[0].length - 1;
    std::vector<int32_t> ids, labels, buffer(static_cast<size_t>(seq + 1));
    for (const Window& w : windows) {
        read(w.begin, buffer);
        ids.insert(ids.end(), buffer.begin(), buffer.end() - 1);
        std::fill(buffer.begin(), buffer.end() - w.scored, -1);
        labels.insert(labels.end(), buffer.begin() + 1, buffer.end());
    }
    if (masks.loss) data::mask_ends(ids, masks.eod, labels);
    LabelledBatch out{model::make_batch(ctx, ids, batch, seq), model::ids_tensor(ctx, labels),
                      std::count_if(labels.begin(), labels.end(), [](int32_t l) { return l >= 0; })};
    if (masks.attention)
        out.tokens.starts = model::ids_tensor(ctx, data::document_starts(ids, seq, masks.eod));
    return out;
}

}  // namespace

StreamLoss stream_loss(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                       const std::vector<Window>& windows, int64_t micro_batch,
                       const data::DocumentMasks& masks, const ReadTokens& read, const Progress& progress) {
    model::Outbox outbox;
    std::array<double, 2> total{};  // sum, tokens
    std::vector<Window> mine;
    for (size_t i = static_cast<size_t>(topology.data.rank()); i < windows.size();
         i += static_cast<size_t>(topology.layout.dp))
        mine.push_back(windows[i]);

    const auto together = static_cast<size_t>(model::pipeline_group(model::pipeline_shape(topology, model)));
    for (size_t begin = 0; begin < mine.size();) {
        std::vector<LabelledBatch> group;
        std::vector<model::TokenBatch> tokens;
        while (begin < mine.size() && group.size() < together) {
            size_t end = begin + 1;
            while (end < mine.size() && end - begin < static_cast<size_t>(micro_batch) &&
                   mine[end].length == mine[begin].length)
                ++end;
            group.push_back(make_batch(ctx, std::span(mine).subspan(begin, end - begin), masks, read));
            tokens.push_back(group.back().tokens);
            begin = end;
        }
        const auto hidden = model::forward_pipeline(ctx, model, topology, tokens, outbox);
        for (size_t m = 0; m < group.size() && hidden[m]; ++m) {
            const auto losses = model::token_losses(ctx, model, hidden[m], group[m].labels);
            if (topology.tensor.rank() == 0) {
                for (const double l : losses) total[0] += l;
                total[1] += static_cast<double>(group[m].scored);
            }
        }
        progress(static_cast<int64_t>(begin) * topology.layout.dp);
    }
    outbox.drain();
    topology.world.all_reduce(total);
    return {total[0], static_cast<int64_t>(total[1])};
}

}  // namespace espalier::evaluate
