// The parameter table: every weight of a model is one row, and sharding, pruning, files, import and export,
// optimizer groups and the parameter count are read off it.
#pragma once

#include <string>
#include <vector>

#include "src/core/box.hpp"
#include "src/core/exact.hpp"
#include "src/model/architecture.hpp"

namespace espalier::model {

/// What an axis of a weight counts.
enum class Axis { vocab, hidden, query_head, kv_head, head_dim, ffn };
std::string_view to_string(Axis axis);

enum class Init {
    normal,    ///< N(0, init_std)
    scaled,    ///< N(0, init_std / sqrt(2 depth)): projections that write into the residual stream
    identity,  ///< the norm weight that leaves its input as it is: 1, or 0 where the gain is one plus the
               ///< weight
    zeros,
};
enum class Decay { yes, no };

/// Which weight a row is, whatever its layer.
enum class Weight {
    token_embedding,
    attention_norm,
    attention_norm_bias,
    query,
    key,
    value,
    query_bias,
    key_bias,
    value_bias,
    query_norm,  ///< of every query head
    key_norm,    ///< of every key head
    attention_out,
    attention_out_bias,
    attention_post_norm,  ///< of what attention puts out
    mlp_norm,             ///< and its bias: of no parallel block, whose MLP reads what attention reads
    mlp_norm_bias,
    gate,
    up,
    gate_bias,
    up_bias,
    down,
    down_bias,
    mlp_post_norm,  ///< of what the MLP puts out
    final_norm,
    final_norm_bias,
    head,
    head_bias,
    state_projection,  ///< of no model: what lifts a student's hidden states to a teacher's width
};

struct Parameter {
    Weight weight;
    int64_t layer;  ///< -1 outside the layers
    std::string name;
    std::vector<Axis> axes;
    Shape shape;  ///< global, an entry an axis
    int split;    ///< the axis that tensor parallelism splits, -1: every rank has all of it
    Init init;
    Decay decay;

    int64_t size() const { return element_count(shape); }
    std::vector<std::string> axis_names() const;
};

/// All rows in canonical order. Query, key and value follow each other, gate and up too: stored back to back
/// they are one matrix for one product.
std::vector<Parameter> parameters(const Architecture& a);

/// Number of weights; a tied head counts once.
int64_t parameter_count(const Architecture& a);

/// A rank's place in its tensor parallel group.
struct TensorPart {
    int size = 1;
    int rank = 0;
};

/// The indices of an axis that a tensor parallel rank works on. Query heads are split evenly; a rank has the
/// KV heads that its query heads read, so neighbours may share one.
Range local_range(const Architecture& a, int64_t layer, Axis axis, TensorPart part);
/// Those of them that the rank answers for: of a KV head that several ranks have, the lowest of them does.
Range owned_range(const Architecture& a, int64_t layer, Axis axis, TensorPart part);

/// This rank's block of a weight, and the part of it that it alone answers for: owned boxes of all ranks of
/// the group cover the weight exactly once (writing files, checksums, the gradient's norm).
Box local_box(const Architecture& a, const Parameter& p, TensorPart part);
Box owned_box(const Architecture& a, const Parameter& p, TensorPart part);

}  // namespace espalier::model
