// A rank's gradients against those of the same model on one rank.
#pragma once

#include "src/model/transformer.hpp"
#include "tests/support/compare.hpp"

namespace espalier::test {

/// Every weight's gradient in `share`, the elements of got.gradients() that this replica has the sum of.
void expect_same_gradients(model::Transformer& got, Range share, model::Transformer& serial,
                           Tolerance tolerance);

}  // namespace espalier::test
