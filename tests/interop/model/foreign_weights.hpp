// Weights of a foreign checkpoint in a whole model.
#pragma once

#include "jobs/foreign_model.hpp"
#include "kernels/elementwise.hpp"
#include "src/model/transformer.hpp"

namespace espalier::test {

inline void load(Context& ctx, const jobs::ForeignModel& source, model::Transformer& model) {
    for (const auto& e : model.parameters().entries()) {
        const auto foreign = source.tensor_of(e.parameter);
        const auto index = static_cast<size_t>(io::find(*source.weights, foreign.name));
        const auto& info = source.weights->tensors()[index];
        Tensor read = ctx.empty(info.shape, info.dtype);
        source.weights->read_rows(index, 0, io::row_count(info.shape), {read.raw(), read.bytes()});
        Tensor view = model::ParameterSet::view(model.parameters().flat(), &e);
        convert(ctx, read.view(view.shape()), view);
    }
}

}  // namespace espalier::test
