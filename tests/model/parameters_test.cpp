#include "src/model/parameters.hpp"

#include <gtest/gtest.h>

#include "tests/model/tiny_models.hpp"

namespace espalier::model {
namespace {

Architecture nemotron(int64_t hidden, int64_t heads, int64_t kv, int64_t ffn) {
    Architecture a = test::tiny_nemotron();
    a.vocab = 256000;
    a.hidden = hidden;
    a.head_dim = 128;
    a.rotary_dim = 64;
    a.layers.assign(32, {heads, kv, ffn});
    return a;
}

TEST(Parameters, CountsWhatThePublishedModelsHave) {
    // Muralidharan et al. 2024 (arXiv 2407.14679): 15.6, 8.27 and 4.19 billion.
    EXPECT_NEAR(static_cast<double>(parameter_count(nemotron(6144, 48, 8, 24576))) / 1e9, 15.6, 0.05);
    EXPECT_NEAR(static_cast<double>(parameter_count(nemotron(4096, 48, 8, 16384))) / 1e9, 8.27, 0.005);
    EXPECT_NEAR(static_cast<double>(parameter_count(nemotron(3072, 24, 8, 9216))) / 1e9, 4.19, 0.005);
}

TEST(Parameters, TiedHeadsCountOnce) {
    Architecture untied = test::tiny_llama(), tied = untied;
    tied.tied = true;

    EXPECT_EQ(parameter_count(untied) - parameter_count(tied), untied.vocab * untied.hidden);
}

TEST(Parameters, QueryHeadsThatShareAKvHeadAcrossRanksBothHaveIt) {
    const Architecture a = test::tiny_llama();  // 9 query heads in 3 groups

    EXPECT_EQ(local_range(a, 0, Axis::query_head, {2, 0}), (Range{0, 5}));
    EXPECT_EQ(local_range(a, 0, Axis::kv_head, {2, 0}), (Range{0, 2}));
    EXPECT_EQ(local_range(a, 0, Axis::query_head, {2, 1}), (Range{5, 9}));
    EXPECT_EQ(local_range(a, 0, Axis::kv_head, {2, 1}), (Range{1, 3}));
}

TEST(Parameters, OwnedBoxesCoverEveryWeightOnceAndLieInTheLocalOnes) {
    for (const Architecture& a : {test::tiny_llama(), test::tiny_qwen2(), test::tiny_qwen3(true),
                                  test::tiny_nemotron(true), test::tiny_gemma2(), test::tiny_phi()}) {
        for (const int ranks : {1, 2, 3, 4, 5, 6}) {
            for (const auto& p : parameters(a)) {
                const size_t axis = p.split < 0 ? 0 : static_cast<size_t>(p.split);
                std::vector<int> owners(static_cast<size_t>(p.shape[axis]), 0);
                for (int r = 0; r < ranks; ++r) {
                    const Box local = local_box(a, p, {ranks, r}), owned = owned_box(a, p, {ranks, r});
                    for (int64_t i = owned.offset[axis]; i < owned.offset[axis] + owned.count[axis]; ++i)
                        ++owners[static_cast<size_t>(i)];
                    if (owned.size() == 0) continue;
                    EXPECT_GE(owned.offset[axis], local.offset[axis]);
                    EXPECT_LE(owned.offset[axis] + owned.count[axis], local.offset[axis] + local.count[axis]);
                }
                EXPECT_EQ(owners, std::vector<int>(owners.size(), 1))
                    << p.name << " on " << ranks << " ranks";
            }
        }
    }
}

}  // namespace
}  // namespace espalier::model
