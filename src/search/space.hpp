// The shapes that a search looks at: lists of widths, crossed.
#pragma once

#include <string>
#include <vector>

#include "src/model/architecture.hpp"

namespace espalier::search {

/// A model whose layers are all alike.
struct ModelShape {
    int64_t layers = 0, hidden = 0, heads = 0, kv_heads = 0, ffn = 0;
    bool operator==(const ModelShape&) const = default;
};

/// The order of candidates: deeper first, then fewer heads, fewer neurons, wider, fewer KV heads, as the
/// papers list them (arXiv 2407.14679, Table 19).
bool operator<(const ModelShape& x, const ModelShape& y);

/// "30 layers, hidden 4608, 32 heads on 8 KV heads, 16128 neurons".
std::string to_string(const ModelShape& s);

/// What every layer of a model has: the largest uniform shape it can be cut to.
ModelShape largest(const model::Architecture& a);
/// The model cut to a shape.
model::Architecture with_shape(const model::Architecture& a, const ModelShape& s);

/// An empty list stands for widths derived from the model (complete()).
struct Space {
    std::vector<int64_t> layers = {}, hidden = {}, heads = {}, kv_heads = {};
    std::vector<int64_t> ffn = {};       ///< neurons
    std::vector<double> ffn_ratio = {};  ///< and ratio x hidden neurons, to the nearest multiple of 8
};

/// Fills empty lists: the model's depth and one, two, three layers fewer; its hidden size and steps down to a
/// third by the largest power of two in an eighth of it; all heads, and fewer in each KV group down to half;
/// its KV heads; its ratio of neurons to hidden, and 7, 6 and 5 eighths of that.
Space complete(Space space, const model::Architecture& a);

/// All shapes of a complete space that the model can be cut to, sorted, each once. Throws UserError, naming
/// the option, for a value that is not positive or exceeds the model; combinations that do (a ratio of a wide
/// hidden size, heads that the KV heads do not divide) are passed over.
std::vector<ModelShape> shapes(const Space& space, const model::Architecture& a);

}  // namespace espalier::search
