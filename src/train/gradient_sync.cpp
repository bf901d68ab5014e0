#include "src/train/gradient_sync.hpp"

#include <cmath>

#include "kernels/elementwise.hpp"

namespace espalier::train {
namespace {

using model::Axis;
using model::Entry;
using model::ParameterSet;

/// A run of elements that takes part in a sum: where it stands in the flat gradient (-1: this rank does not
/// hold it and contributes zeros) and how long it is.
struct Piece {
    int64_t offset;
    int64_t size;
};

/// KV heads of a layer that more than one rank holds.
std::vector<int64_t> shared_kv_heads(const model::Architecture& a, int64_t layer, int ranks) {
    std::vector<int> holders(static_cast<size_t>(a.layers[layer].kv_heads), 0);
    for (int r = 0; r < ranks; ++r) {
        const Range range = model::local_range(a, layer, Axis::kv_head, {ranks, r});
        for (int64_t head = range.begin; head < range.end; ++head) ++holders[head];
    }
    std::vector<int64_t> shared;
    for (size_t head = 0; head < holders.size(); ++head) {
        if (holders[head] > 1) shared.push_back(static_cast<int64_t>(head));
    }
    return shared;
}

/// The same list of sizes on every tensor parallel rank.
std::vector<Piece> tensor_parallel_pieces(const model::Transformer& model) {
    const int ranks = model.placement().tensor.size;
    std::vector<Piece> pieces;
    for (const Entry& e : model.parameters().entries()) {
        if (e.parameter.split < 0) {
            pieces.push_back({e.offset, e.size()});
        } else if (e.parameter.axes[0] == Axis::kv_head) {
            const int64_t head_size = row_elements(e.parameter.shape);
            const Range mine{e.local.offset[0], e.local.offset[0] + e.local.count[0]};
            for (const int64_t head : shared_kv_heads(model.architecture(), e.parameter.layer, ranks)) {
                pieces.push_back(
                    {mine.contains(head) ? e.offset + (head - mine.begin) * head_size : -1, head_size});
            }
        }
    }
    return pieces;
}

void sum_pieces(Context& ctx, const comm::Communicator& over, const std::vector<Piece>& pieces,
                Tensor& flat) {
    int64_t total = 0;
    for (const Piece& p : pieces) total += p.size;
    if (over.size() == 1 || total == 0) return;
    Tensor packed = ctx.zeros({total}, DType::f32);
    const auto for_each_held = [&](auto&& f) {
        int64_t at = 0;
        for (const Piece& p : pieces) {
            Tensor place = packed.slice(at, {p.size});
            at += p.size;
            if (p.offset < 0) continue;
            Tensor gradient = flat.slice(p.offset, {p.size});
            f(gradient, place);
        }
    };
    for_each_held([&](Tensor& gradient, Tensor& place) { copy(ctx, gradient, place); });
    over.all_reduce(ctx, packed);
    for_each_held([&](Tensor& gradient, Tensor& place) { copy(ctx, place, gradient); });
}

}  // namespace

void synchronise_gradients(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                           const Shards& shards) {
    Tensor& flat = model.gradients();
    sum_pieces(ctx, topology.tensor, tensor_parallel_pieces(model), flat);
    if (model.architecture().tied && topology.ends.size() > 1) {
        Tensor embedding = ParameterSet::view(flat, model.parameters().find(model::Weight::token_embedding));
        topology.ends.all_reduce(ctx, embedding);
    }
    topology.data.reduce_scatter(ctx, flat, shards.bounds);
}

double gradient_norm(Context& ctx, const Tensor& gradients, const FlatRuns& owned,
                     const comm::Topology& topology) {
    double sum = square_sum(ctx, gradients, owned);
    topology.data.all_reduce({&sum, 1});
    topology.tensor.all_reduce({&sum, 1});
    topology.pipeline.all_reduce({&sum, 1});
    return std::sqrt(sum);
}

}  // namespace espalier::train
