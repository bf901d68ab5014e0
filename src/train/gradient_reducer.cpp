#include "src/train/gradient_reducer.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "kernels/elementwise.hpp"

namespace espalier::train {
namespace {

using model::Axis;
using model::Entry;
using model::ParameterSet;

/// KV heads of a layer that more than one rank holds: what one holds and a lower one answers for.
std::set<int64_t> shared_kv_heads(const model::Architecture& a, int64_t layer, int ranks) {
    std::set<int64_t> shared;
    for (int r = 0; r < ranks; ++r) {
        const Range held = model::local_range(a, layer, Axis::kv_head, {ranks, r}),
                    owned = model::owned_range(a, layer, Axis::kv_head, {ranks, r});
        for (int64_t head = held.begin; head < owned.begin; ++head) shared.insert(head);
    }
    return shared;
}

}  // namespace

GradientReducer::GradientReducer(model::Transformer& model, const comm::Topology& topology,
                                 const Shards& shards)
    : model_(model), topology_(topology), shards_(shards), pieces_(tensor_parallel_pieces(model)) {}

std::vector<GradientReducer::Piece> GradientReducer::tensor_parallel_pieces(const model::Transformer& model) {
    const int ranks = model.placement().tensor.size;
    std::vector<Piece> pieces;
    for (const Entry& e : model.parameters().entries()) {
        if (e.parameter.split < 0) {
            pieces.push_back({e.part, e.offset, e.size()});
        } else if (e.parameter.axes[0] == Axis::kv_head) {
            const int64_t head_size = row_elements(e.parameter.shape);
            const Range mine{e.local.offset[0], e.local.offset[0] + e.local.count[0]};
            for (const int64_t head : shared_kv_heads(model.architecture(), e.parameter.layer, ranks)) {
                const int64_t offset = mine.contains(head) ? e.offset + (head - mine.begin) * head_size : -1;
                pieces.push_back({e.part, offset, head_size});
            }
        }
    }
    return pieces;
}

void GradientReducer::sum_pieces(Context& ctx, const std::vector<Piece>& pieces) {
    int64_t total = 0;
    for (const Piece& p : pieces) total += p.size;
    if (topology_.tensor.size() == 1 || total == 0) return;
    Tensor packed = ctx.zeros({total}, DType::f32);
    const auto for_each_held = [&](auto&& f) {
        int64_t at = 0;
        for (const Piece& p : pieces) {
            Tensor place = packed.slice(at, {p.size});
            at += p.size;
            if (p.offset < 0) continue;
            Tensor gradient = model_.gradients().slice(p.offset, {p.size});
            f(gradient, place);
        }
    };
    for_each_held([&](Tensor& gradient, Tensor& place) { copy(ctx, gradient, place); });
    topology_.tensor.all_reduce(ctx, packed);
    for_each_held([&](Tensor& gradient, Tensor& place) { copy(ctx, place, gradient); });
}

void GradientReducer::sum_ends(Context& ctx, Range elements) {
    const Entry* const embedding = model_.parameters().find(model::Weight::token_embedding);
    if (!model_.architecture().tied || topology_.ends.size() == 1) return;
    if (!embedding || !elements.contains(embedding->offset)) return;
    Tensor gradient = ParameterSet::view(model_.gradients(), embedding);
    topology_.ends.all_reduce(ctx, gradient);
}

void GradientReducer::reduce(Context& ctx, const std::vector<Piece>& pieces, Range elements) {
    const Timed timed = ctx.computing();
    sum_pieces(ctx, pieces);
    sum_ends(ctx, elements);
    Tensor gradients = model_.gradients().slice(elements.begin, {elements.size()});
    sums_.push_back(topology_.data.begin_reduce_scatter(ctx, gradients, shards_.bounds_in(elements)));
}

bool GradientReducer::part_by_part(const Context& ctx) const {
    return ctx.on_gpu() && topology_.data.size() > 1;
}

void GradientReducer::begin(Context& ctx, int64_t layer) {
    if (!part_by_part(ctx)) return;
    if (!begun_.insert(layer).second)
        throw InternalError(fmt::format("the gradient of part {} is being summed already", layer));
    std::vector<Piece> pieces;
    std::copy_if(pieces_.begin(), pieces_.end(), std::back_inserter(pieces),
                 [&](const Piece& p) { return p.part == layer; });
    for (const model::Part& part : model_.parameters().parts()) {
        if (part.layer == layer) reduce(ctx, pieces, part.elements);
    }
}

void GradientReducer::begin_rest(Context& ctx) {
    if (!part_by_part(ctx)) return;
    // In the order of the backward pass: a replica that had no micro-batch begins them all here.
    const auto& parts = model_.parameters().parts();
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        if (!begun_.contains(part->layer)) begin(ctx, part->layer);
    }
}

void GradientReducer::finish(Context& ctx) {
    if (part_by_part(ctx)) {
        begin_rest(ctx);
    } else {
        reduce(ctx, pieces_, {0, model_.parameters().flat_size()});
    }
    begun_.clear();
    for (comm::Request& sum : sums_) sum.wait();
    sums_.clear();
}

double gradient_norm(Context& ctx, const Tensor& gradients, const FlatRuns& owned,
                     const comm::Topology& topology) {
    const Timed timed = ctx.computing();
    double sum = square_sum(ctx, gradients, owned);
    topology.data.all_reduce({&sum, 1});
    topology.tensor.all_reduce({&sum, 1});
    topology.pipeline.all_reduce({&sum, 1});
    return std::sqrt(sum);
}

}  // namespace espalier::train
