// Gradients of one step, summed over the ranks that each hold a part of the sum.
#pragma once

#include <set>
#include <vector>

#include "src/comm/topology.hpp"
#include "src/model/transformer.hpp"
#include "src/train/shards.hpp"

namespace espalier::train {

/// Leaves each replica its share of model.gradients() = the gradient of the whole global batch, in place; the
/// rest is then undefined. Sums
///   over tensor parallel ranks for weights that each of them holds whole but saw with its own tokens only
///   (norms, output biases) and for KV heads that several of them hold; between the first and last stage for
///   a tied embedding; over data parallel replicas for everything.
class GradientReducer {
public:
    /// All outlive this.
    GradientReducer(model::Transformer& model, const comm::Topology& topology, const Shards& shards);

    /// Collective over tensor parallel ranks and replicas; of the embedding, where it is tied, also over the
    /// ends of the pipeline. The gradient of a part (model::Part, by its layer) has been put on the stream
    /// whole: on a device its sum over replicas begins, beside what comes next. Every replica goes from the
    /// last part towards the first, and may leave the rest to finish(). On the host nothing happens: ranks
    /// compute on the cores that would copy, and replicas would wait for each other in the middle of their
    /// pipelines.
    void begin(Context& ctx, int64_t layer);
    /// Collective over tensor parallel ranks, replicas and the ends of the pipeline. On a device the sums of
    /// all other parts begin; to be called where another model's sums over the same replicas come next, so
    /// that they come next on a replica without micro-batches too.
    void begin_rest(Context& ctx);
    /// Collective over the grid. What has not begun is summed too, and what comes next on the stream finds
    /// all sums.
    void finish(Context& ctx);

private:
    /// A run of elements that takes part in a sum over tensor parallel ranks, which all have the same list:
    /// where it stands in the flat gradient (-1: this rank does not hold it and contributes zeros).
    struct Piece {
        int64_t part, offset, size;
    };
    static std::vector<Piece> tensor_parallel_pieces(const model::Transformer& model);
    void sum_pieces(Context& ctx, const std::vector<Piece>& pieces);
    void sum_ends(Context& ctx, Range elements);
    /// Sums the pieces, and the embedding where it is among the elements, then begins the sum of those over
    /// replicas.
    void reduce(Context& ctx, const std::vector<Piece>& pieces, Range elements);
    bool part_by_part(const Context& ctx) const;

    model::Transformer& model_;
    const comm::Topology& topology_;
    const Shards& shards_;
    std::vector<Piece> pieces_;
    std::set<int64_t> begun_;  // parts, by their layer
    std::vector<comm::Request> sums_;
};

/// L2 norm of the whole model's gradient from the replicas' shares; `owned`: runs_owned of the weights. The
/// same on every rank.
double gradient_norm(Context& ctx, const Tensor& gradients, const FlatRuns& owned,
                     const comm::Topology& topology);

}  // namespace espalier::train
