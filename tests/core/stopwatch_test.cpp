#include "src/core/stopwatch.hpp"

#include <gtest/gtest.h>

namespace espalier::test {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}
/// Busy, not asleep: at least this long, and where the machine takes its time, longer.
void spend(double seconds) {
    const auto begin = Clock::now();
    while (seconds_since(begin) < seconds) {
    }
}

TEST(Stopwatch, CountsEachMomentOnTheInnermostSpanAlone) {
    Stopwatch computing, waiting;
    const auto begin = Clock::now();
    {
        const Timed pass(&computing);
        spend(0.002);
        {
            const Timed message(&waiting);
            spend(0.004);
            const Timed piece(&waiting);
            spend(0.001);
            const Timed taught(&computing);
            spend(0.001);
        }
        spend(0.002);
    }
    const double whole = seconds_since(begin);

    EXPECT_GE(computing.seconds(), 0.005);
    EXPECT_GE(waiting.seconds(), 0.005);
    EXPECT_LE(computing.seconds() + waiting.seconds(), whole);
}

TEST(Stopwatch, LeavesOutWhatIsInNoSpan) {
    Stopwatch computing;
    const auto begin = Clock::now();
    for (int i = 0; i < 2; ++i) {
        {
            const Timed pass(&computing);
            const Timed nobody(nullptr);
            spend(0.001);
        }
        spend(0.002);
    }
    const double whole = seconds_since(begin);

    EXPECT_GE(computing.seconds(), 0.002);
    EXPECT_LE(computing.seconds(), whole - 0.004);
}

}  // namespace
}  // namespace espalier::test
