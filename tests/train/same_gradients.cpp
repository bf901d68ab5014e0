#include "tests/train/same_gradients.hpp"

namespace espalier::test {
namespace {

/// The elements of a whole weight that lie in `box`.
Values values_in(const Tensor& whole_weight, const Shape& shape, const Box& box) {
    const auto all = values_of(whole_weight);
    Values out;
    for (int64_t i = 0; i < box.size(); ++i) {
        int64_t rest = i, at = 0, stride = 1;
        for (size_t axis = shape.size(); axis-- > 0;) {
            at += (rest % box.count[axis] + box.offset[axis]) * stride;
            rest /= box.count[axis];
            stride *= shape[axis];
        }
        out.push_back(all[static_cast<size_t>(at)]);
    }
    return out;
}

}  // namespace

void expect_same_gradients(model::Transformer& got, Range share, model::Transformer& serial,
                           Tolerance tolerance) {
    for (const auto& e : got.parameters().entries()) {
        const auto* whole_entry = serial.parameters().find(e.parameter.weight, e.parameter.layer);
        const Tensor gradient = model::ParameterSet::view(serial.gradients(), whole_entry);
        const Range rows = e.rows_in(share);
        if (rows.size() == 0) continue;
        Box box = e.local;
        box.offset[0] += rows.begin;
        box.count[0] = rows.size();
        EXPECT_TRUE(near_all(model::ParameterSet::view(got.gradients(), &e).rows(rows.begin, rows.size()),
                             values_in(gradient, e.parameter.shape, box), tolerance))
            << e.parameter.name;
    }
}

}  // namespace espalier::test
