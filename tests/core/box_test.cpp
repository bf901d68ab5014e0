#include "src/core/box.hpp"

#include <gtest/gtest.h>

namespace espalier {
namespace {

TEST(RowBlocks, CoverTheRowsOnceInOrderWithinTheirBytes) {
    const int64_t row_bytes = int64_t{10} << 20;  // six of them in a block
    std::vector<Box> boxes;

    for_each_row_block({40, 3, 2}, {5, 21}, row_bytes, [&](const Box& box) { boxes.push_back(box); });

    EXPECT_EQ(boxes,
              (std::vector<Box>{{{5, 0, 0}, {6, 3, 2}}, {{11, 0, 0}, {6, 3, 2}}, {{17, 0, 0}, {4, 3, 2}}}));
}

TEST(RowBlocks, HaveARowAtLeast) {
    EXPECT_EQ(rows_in_block(int64_t{1} << 40), 1);
}

TEST(RowBlocks, OfNoRowsAreNone) {
    for_each_row_block({4, 2}, {2, 2}, 8, [](const Box&) { FAIL(); });
}

}  // namespace
}  // namespace espalier
