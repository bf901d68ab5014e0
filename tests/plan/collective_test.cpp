#include "src/plan/collective.hpp"

#include <gtest/gtest.h>

#include "tests/plan/cases.hpp"

namespace espalier::test {
namespace {

const plan::Link link{1e9, 0.5, 1e-6};

TEST(Ring, AllReduceSendsEachByteTwiceAroundAllButOneRank) {
    // 2 x 3/4 x 4e6 bytes at 0.5e9 bytes/s, and 6 messages.
    EXPECT_DOUBLE_EQ(plan::all_reduce_seconds(link, 4, 4e6), 0.012 + 6e-6);
}

TEST(Ring, ReduceScatterAndAllGatherAreHalfOfItEach) {
    EXPECT_DOUBLE_EQ(plan::reduce_scatter_seconds(link, 4, 4e6), 0.006 + 3e-6);
    EXPECT_DOUBLE_EQ(plan::all_gather_seconds(link, 4, 4e6), 0.006 + 3e-6);
}

TEST(Ring, OneRankNeedsNoTime) {
    EXPECT_EQ(plan::all_reduce_seconds(link, 1, 1e9), 0);
}

TEST(Send, TakesLatencyAndBandwidth) {
    EXPECT_DOUBLE_EQ(plan::send_seconds(link, 5e5), 1e-3 + 1e-6);
}

TEST(Links, AGroupInsideANodeUsesTheNodesLink) {
    EXPECT_EQ(plan::ring_link(round_system(), {4, 1}).bandwidth, 1e9);
    EXPECT_EQ(plan::ring_link(round_system(), {2, 2}).bandwidth, 1e9);
}

TEST(Links, AGroupOverNodesGetsTheNetworkCardsOfItsRanksOnANode) {
    EXPECT_DOUBLE_EQ(plan::ring_link(round_system(), {8, 1}).bandwidth, 4e8);
    EXPECT_DOUBLE_EQ(plan::ring_link(round_system(), {4, 2}).bandwidth, 2e8);
    EXPECT_DOUBLE_EQ(plan::ring_link(round_system(), {2, 4}).bandwidth, 1e8);
}

TEST(Links, TheNodesLinkStaysTheUpperBound) {
    auto system = round_system();
    system.network.bandwidth = 9e8;

    EXPECT_DOUBLE_EQ(plan::ring_link(system, {8, 1}).rate(), 1e9);
}

TEST(Links, NeighboursOnOtherNodesUseTheNetworkOfOneRank) {
    EXPECT_EQ(plan::neighbour_link(round_system(), {2, 4}).bandwidth, 1e8);
    EXPECT_EQ(plan::neighbour_link(round_system(), {2, 2}).bandwidth, 1e9);
}

}  // namespace
}  // namespace espalier::test
