#include "src/plan/calibrate.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "src/plan/collective.hpp"

namespace espalier::test {
namespace {

TEST(FitMatmul, FindsTheCurveThatMadeTheSamples) {
    std::vector<plan::MatmulSample> samples;
    for (const double n : {128, 256, 512, 1024, 2048}) samples.push_back({n, 1e12 / (1 + 300 / n)});

    const auto fit = plan::fit_matmul(samples);

    EXPECT_NEAR(fit.peak, 1e12, 1);
    EXPECT_NEAR(fit.curve.half_size, 300, 1e-6);
    EXPECT_EQ(fit.curve.best, 1);
}

TEST(FitMatmul, IsFlatWhereSmallProductsAreNoSlower) {
    const std::vector<plan::MatmulSample> samples{{128, 3e9}, {1024, 2e9}};

    const auto fit = plan::fit_matmul(samples);

    EXPECT_EQ(fit.peak, 3e9);
    EXPECT_EQ(fit.curve.half_size, 0);
}

TEST(FitAllReduce, FindsTheLinkThatMadeTheSamples) {
    const plan::Link link{5e9, 1, 3e-6};
    std::vector<plan::CollectiveSample> samples;
    for (const double bytes : {1e3, 1e5, 1e7})
        samples.push_back({bytes, plan::all_reduce_seconds(link, 4, bytes)});

    const auto fit = plan::fit_all_reduce(samples, 4);

    EXPECT_NEAR(fit.bandwidth, 5e9, 1);
    EXPECT_NEAR(fit.latency, 3e-6, 1e-12);
}

}  // namespace
}  // namespace espalier::test
