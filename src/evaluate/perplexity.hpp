// Language-model loss over a stream of tokens.
#pragma once

#include <functional>
#include <span>

#include "src/comm/topology.hpp"
#include "src/data/document_masks.hpp"
#include "src/evaluate/windows.hpp"
#include "src/model/transformer.hpp"

namespace espalier::evaluate {

struct StreamLoss {
    double sum = 0;  ///< of -log p over scored tokens, natural log
    int64_t tokens = 0;
    double mean() const { return tokens == 0 ? 0 : sum / static_cast<double>(tokens); }
};

/// out = tokens [begin, begin + out.size()) of the stream.
using ReadTokens = std::function<void(int64_t begin, std::span<int32_t> out)>;
/// Called after this replica's micro-batches, one or several, with the windows done so far.
using Progress = std::function<void(int64_t windows_done)>;

/// Collective: windows are dealt to the data parallel replicas in turn and batched `micro_batch` at a time
/// (equal lengths only). `masks` confine attention in windows, and what follows an end of a document is then
/// not scored. The same result on every rank.
StreamLoss stream_loss(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                       const std::vector<Window>& windows, int64_t micro_batch,
                       const data::DocumentMasks& masks, const ReadTokens& read, const Progress& progress);

}  // namespace espalier::evaluate
