#include "src/evaluate/windows.hpp"

#include <gtest/gtest.h>

namespace espalier::evaluate {
namespace {

TEST(Windows, PredictEveryTokenButTheFirstOnce) {
    for (const int64_t tokens : {2, 9, 10, 11, 100}) {
        for (const int64_t stride : {3, 9}) {
            int64_t scored = 0;
            for (const auto& w : windows(tokens, 9, stride)) {
                EXPECT_LE(w.length, 10);
                EXPECT_EQ(w.begin + w.length - 1 - w.scored, scored);  // picks up where the last ended
                scored += w.scored;
            }
            EXPECT_EQ(scored, tokens - 1);
        }
    }
}

}  // namespace
}  // namespace espalier::evaluate
