#include "src/model/rotary_table.hpp"

#include <gmock/gmock.h>

#include "tests/model/tiny_models.hpp"

namespace espalier::model {
namespace {

TEST(Rotary, Llama3KeepsShortWavelengthsAndStretchesLongOnes) {
    Architecture a = test::tiny_llama();
    a.head_dim = a.rotary_dim = 128;
    a.rotary_base = 5e5;
    const auto plain = rotary_frequencies(a);
    a.rotary_scaling = {RotaryScaling::Kind::llama3, 8, 1, 4, 8192};
    const auto scaled = rotary_frequencies(a);

    EXPECT_EQ(scaled.front(), plain.front());
    EXPECT_DOUBLE_EQ(scaled.back(), plain.back() / 8);
    for (size_t i = 0; i < plain.size(); ++i) {
        EXPECT_LE(scaled[i], plain[i]);
        EXPECT_GE(scaled[i], plain[i] / 8);
    }
}

}  // namespace
}  // namespace espalier::model
