// Weights of a foreign checkpoint in a whole model.
#pragma once

#include <algorithm>

#include "jobs/files/foreign_model.hpp"
#include "kernels/elementwise.hpp"
#include "src/model/transformer.hpp"

namespace espalier::test {

/// The rows of a tensor as our own stand.
inline Tensor in_our_order(Context& ctx, const Tensor& read, const model::ForeignTensor& foreign) {
    if (foreign.interleaved_dim == 0) return read;
    Tensor out = ctx.empty(read.shape(), read.dtype());
    for (int64_t r = 0; r < read.dim(0); ++r) {
        const Tensor row = read.rows(model::foreign_row(foreign, r), 1);
        std::copy_n(row.raw(), row.bytes(), out.rows(r, 1).raw());
    }
    return out;
}

inline void load(Context& ctx, const jobs::ForeignModel& source, model::Transformer& model) {
    for (const auto& e : model.parameters().entries()) {
        const auto foreign = source.tensor_of(e.parameter);
        const auto index = static_cast<size_t>(io::find(*source.weights, foreign.name));
        const auto& info = source.weights->tensors()[index];
        Tensor read = ctx.empty(info.shape, info.dtype);
        source.weights->read_rows(index, 0, io::row_count(info.shape), {read.raw(), read.bytes()});
        Tensor view = model::ParameterSet::view(model.parameters().flat(), &e);
        for (float& v : foreign.added != 0 ? read.span<float>() : std::span<float>())
            v -= static_cast<float>(foreign.added);
        const int64_t first = foreign.first_row * row_elements(info.shape);
        convert(ctx, in_our_order(ctx, read, foreign).slice(first, view.shape()), view);
    }
}

}  // namespace espalier::test
