#include "src/model/architecture.hpp"

#include <gtest/gtest.h>

#include "tests/model/tiny_models.hpp"

namespace espalier::model {
namespace {

TEST(Architecture, IsTheSameFunctionWhateverItsConventions) {
    const Architecture a = test::tiny_llama();
    Architecture renamed = a, other = a;
    renamed.conventions = {.init_std = 0.5, .bos = 1, .pad = 2, .eos = {3}};
    other.norm.eps *= 2;

    EXPECT_NE(renamed, a);
    EXPECT_TRUE(same_function(renamed, a));
    EXPECT_FALSE(same_function(other, a));
}

}  // namespace
}  // namespace espalier::model
