// The finite differences can fail.
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

TEST(NumericGradient, AcceptsTheDerivativeOfACubeAndRejectsOneThatIsOffByAMillionth) {
    const Values x = random_values(9, 1);
    const auto cubes = [](const Values& v) {
        double sum = 0;
        for (const double e : v) sum += e * e * e;
        return sum;
    };
    Values exact, off;
    for (const double e : x) {
        exact.push_back(3 * e * e);
        off.push_back(3.000003 * e * e);
    }

    const Values numeric = numeric_gradient(cubes, x);

    EXPECT_TRUE(near_all(exact, numeric, numeric_tolerance));
    EXPECT_FALSE(near_all(off, numeric, numeric_tolerance));
}

}  // namespace
}  // namespace espalier::test
