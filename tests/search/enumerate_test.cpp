// The papers' search spaces (arXiv 2407.14679, Tables 9 and 19), and budgets of every kind.
#include "src/search/enumerate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/error.hpp"

namespace espalier::search {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

model::Architecture nemotron_15b() {
    model::Architecture a;
    a.family = model::Family::nemotron;
    a.vocab = 256000;
    a.hidden = 6144;
    a.head_dim = 128;
    a.layers.assign(32, {48, 8, 24576});
    a.activation = Activation::relu2;
    a.norm = {NormKind::layer, Gain::one_plus_weight, 1e-5f};
    a.norm_bias = true;
    a.rotary_dim = 64;
    a.max_positions = 4096;
    return a;
}

model::Architecture smollm2() {
    model::Architecture a;
    a.vocab = 49152;
    a.hidden = 576;
    a.head_dim = 64;
    a.layers.assign(30, {9, 3, 1536});
    a.tied = true;
    a.rotary_dim = 64;
    a.max_positions = 8192;
    return a;
}

Space papers_space(std::vector<int64_t> heads, std::vector<int64_t> hidden) {
    return {.layers = {29, 30, 31, 32},
            .hidden = std::move(hidden),
            .heads = std::move(heads),
            .ffn_ratio = {2.5, 3, 3.5, 4}};
}

struct Row {
    int64_t layers, heads, ffn, hidden, parameters;
};

void expect_table(const std::vector<Candidate>& found, const std::vector<Row>& table) {
    ASSERT_EQ(found.size(), table.size());
    for (size_t i = 0; i < table.size(); ++i) {
        const Row& t = table[i];
        EXPECT_EQ(found[i].shape, (ModelShape{t.layers, t.hidden, t.heads, 8, t.ffn})) << "row " << i + 1;
        EXPECT_EQ(found[i].cost.parameters, t.parameters) << "row " << i + 1;
        EXPECT_EQ(found[i].loads_as, model::Family::nemotron) << "row " << i + 1;
    }
}

std::vector<ModelShape> shapes_of(const std::vector<Candidate>& candidates) {
    std::vector<ModelShape> out;
    for (const auto& c : candidates) out.push_back(c.shape);
    return out;
}

TEST(Enumerate, FindsTheFifteenCandidatesOfThePapersTable19InItsOrder) {
    const auto found = enumerate(nemotron_15b(), papers_space({32, 48}, {4096, 4608, 5120, 5632, 6144}),
                                 {7'800'000'000, 8'500'000'000}, {}, Loaders::any);

    expect_table(found, {{32, 32, 12800, 5120, 8494131200},
                         {32, 32, 13824, 4608, 7946707968},
                         {32, 48, 11520, 4608, 7871210496},
                         {32, 48, 16384, 4096, 8271699968},
                         {31, 32, 12800, 5120, 8310609920},
                         {31, 32, 16128, 4608, 8430345216},
                         {31, 48, 13824, 4608, 8357207040},
                         {31, 48, 16384, 4096, 8078745600},
                         {30, 32, 12800, 5120, 8127088640},
                         {30, 32, 16128, 4608, 8234505216},
                         {30, 48, 13824, 4608, 8163726336},
                         {30, 48, 16384, 4096, 7885791232},
                         {29, 32, 12800, 5120, 7943567360},
                         {29, 32, 16128, 4608, 8038665216},
                         {29, 48, 13824, 4608, 7970245632}});
}

TEST(Enumerate, FindsThePapersEighteenCandidatesWithinFivePercentOfFourBillion) {
    const auto found = enumerate(nemotron_15b(), papers_space({24, 32, 48}, {2560, 3072, 3584, 4096, 4608}),
                                 {3'800'000'000, 4'200'000'000}, {}, Loaders::any);

    expect_table(found, {{32, 24, 7680, 3072, 3888519168},
                         {32, 24, 9216, 3072, 4190509056},
                         {32, 32, 7680, 3072, 4089845760},
                         {32, 32, 10240, 2560, 3827635200},
                         {32, 48, 8960, 2560, 3953464320},
                         {32, 48, 10240, 2560, 4163179520},
                         {31, 24, 7680, 3072, 3816155136},
                         {31, 24, 9216, 3072, 4108707840},
                         {31, 32, 7680, 3072, 4011190272},
                         {31, 48, 8960, 2560, 3870878720},
                         {31, 48, 10240, 2560, 4074040320},
                         {30, 24, 9216, 3072, 4026906624},
                         {30, 32, 7680, 3072, 3932534784},
                         {30, 48, 10240, 2560, 3984901120},
                         {29, 24, 9216, 3072, 3945105408},
                         {29, 32, 7680, 3072, 3853879296},
                         {29, 32, 9216, 3072, 4127557632},
                         {29, 48, 10240, 2560, 3895761920}});
}

TEST(Enumerate, DoesNotDependOnTheOrderOfListsNorOnRepetitions) {
    const Budget budget{3'800'000'000, 4'200'000'000};
    auto space = papers_space({24, 32, 48}, {2560, 3072, 3584, 4096, 4608});
    const auto straight = enumerate(nemotron_15b(), space, budget, {}, Loaders::any);
    std::reverse(space.layers.begin(), space.layers.end());
    std::reverse(space.hidden.begin(), space.hidden.end());
    space.heads = {48, 24, 32, 24};
    space.ffn = {7680, 9216};  // which ratios give as well

    const auto other = enumerate(nemotron_15b(), space, budget, {}, Loaders::any);

    for (const auto& shape : shapes_of(straight))
        EXPECT_THAT(shapes_of(other), testing::Contains(shape)) << to_string(shape);
    EXPECT_TRUE(std::is_sorted(other.begin(), other.end(),
                               [](const auto& x, const auto& y) { return x.shape < y.shape; }));
    for (size_t i = 1; i < other.size(); ++i) EXPECT_NE(other[i].shape, other[i - 1].shape);
}

TEST(Enumerate, CountsWeightsAndTheCacheAgainstTheMemory) {
    // 3 x 2 x 64 values a token in each of 30 layers, 2 bytes each.
    const int64_t weights = 2 * 134'515'008, cache = 2 * 30 * 3 * 2 * 64 * 4 * 1024;
    const Space whole{.layers = {30}, .hidden = {576}, .heads = {9}, .ffn = {1536}};
    const Use use{DType::bf16, 4, 1024};

    const auto found = enumerate(smollm2(), whole, {.max_memory = weights + cache}, use, Loaders::any);

    EXPECT_EQ(found.at(0).cost.memory_bytes, weights + cache);
    EXPECT_THROW(enumerate(smollm2(), whole, {.max_memory = weights + cache - 1}, use, Loaders::any),
                 UserError);
}

TEST(Enumerate, KeepsTheFlopsOfATokenWithinTheirLimit) {
    const Use use{DType::bf16, 1, 512};
    const double limit = model::forward_flops_per_token(smollm2(), 512) * 0.7;

    const auto found = enumerate(smollm2(), {}, {.max_flops = limit}, use, Loaders::any);

    for (const auto& c : found) {
        EXPECT_LE(c.cost.flops_per_token, limit);
        EXPECT_EQ(c.cost.flops_per_token,
                  model::forward_flops_per_token(with_shape(smollm2(), c.shape), 512));
    }
}

TEST(Enumerate, KeepsTheSecondsOfATokenWithinTheirLimit) {
    plan::System server;
    server.peak_flops[DType::bf16] = 1e14;
    server.memory_bandwidth = 1e11;
    const Use use{DType::bf16, 1, 512, server};
    const double whole = *cost(smollm2(), use).seconds_per_token, limit = 0.7 * whole;

    const auto found = enumerate(smollm2(), {}, {.max_latency = limit}, use, Loaders::any);

    // All weights and the cache are read once a token, and nothing else matters.
    EXPECT_NEAR(whole, 2 * (134'515'008 + 512 * 30 * 3 * 2 * 64) / 1e11, 1e-3 * whole);
    for (const auto& c : found) EXPECT_LE(c.cost.seconds_per_token.value(), limit);
    EXPECT_LT(found.size(), enumerate(smollm2(), {}, {.max_latency = whole}, use, Loaders::any).size());
}

TEST(Enumerate, DerivesListsFromTheModel) {
    const auto space = complete({}, smollm2());

    EXPECT_THAT(space.layers, ElementsAre(30, 29, 28, 27));
    EXPECT_THAT(space.hidden, ElementsAre(576, 512, 448, 384, 320, 256, 192));
    EXPECT_THAT(space.heads, ElementsAre(9, 6));
    EXPECT_THAT(space.kv_heads, ElementsAre(3));
    EXPECT_EQ(
        shapes({.layers = {30}, .hidden = {576}, .heads = {9}, .kv_heads = {3}, .ffn_ratio = space.ffn_ratio},
               smollm2())
            .back()
            .ffn,
        1536);
}

TEST(Enumerate, MarksShapesThatNobodyElseLoadsAndLeavesThemOutWhereAsked) {
    auto biased = smollm2();
    biased.qkv_bias = biased.attention_out_bias = true;
    const Space two{.layers = {30}, .hidden = {512, 576}, .heads = {9}, .ffn = {1024}};
    const Budget all{.min_parameters = 1};

    const auto plain = enumerate(smollm2(), two, all, {}, Loaders::required);
    const auto marked = enumerate(biased, two, all, {}, Loaders::any);
    const auto loadable = enumerate(biased, two, all, {}, Loaders::required);

    ASSERT_EQ(plain.size(), 2U);
    EXPECT_EQ(plain[0].loads_as, model::Family::llama);
    EXPECT_EQ(plain[1].loads_as, model::Family::mistral);  // 512 is no multiple of 9 heads
    ASSERT_EQ(marked.size(), 2U);
    EXPECT_EQ(marked[1].loads_as, std::nullopt);
    EXPECT_THAT(shapes_of(loadable), ElementsAre(ModelShape{30, 576, 9, 3, 1024}));
}

TEST(Enumerate, NamesTheNearestShapeWhereNoneIsWithinTheBudget) {
    const Space two{.layers = {30}, .hidden = {512, 576}, .heads = {9}, .ffn = {1536}};

    const auto search = [&] { enumerate(smollm2(), two, {200'000'000, 210'000'000}, {}, Loaders::any); };

    EXPECT_THAT(search, ThrowsMessage<UserError>(
                            AllOf(HasSubstr("200000000 to 210000000 parameters"),
                                  HasSubstr("30 layers, hidden 576, 9 heads on 3 KV heads, 1536 neurons"),
                                  HasSubstr("134515008 parameters"), HasSubstr("widen"))));
}

TEST(Enumerate, RefusesValuesThatTheModelDoesNotHave) {
    const Budget all{.min_parameters = 1};

    EXPECT_THAT([&] { enumerate(smollm2(), {.hidden = {640}}, all, {}, Loaders::any); },
                ThrowsMessage<UserError>(AllOf(HasSubstr("--hidden 640"), HasSubstr("--hidden <= 576"))));
    EXPECT_THAT([&] { enumerate(smollm2(), {.layers = {0}}, all, {}, Loaders::any); },
                ThrowsMessage<UserError>(HasSubstr("--layers 0")));
    EXPECT_THAT([&] { enumerate(smollm2(), {.ffn_ratio = {-1}}, all, {}, Loaders::any); },
                ThrowsMessage<UserError>(HasSubstr("--ffn-ratio -1")));
    EXPECT_THAT([&] { enumerate(smollm2(), {.ffn_ratio = {1e30}}, all, {}, Loaders::any); },
                ThrowsMessage<UserError>(AllOf(HasSubstr("--ffn-ratio 1e+30"), HasSubstr("1536 neurons"))));
    constexpr int64_t many = int64_t{1} << 40;
    EXPECT_THAT([&] { enumerate(smollm2(), {}, all, {.batch = many, .seq_len = many}, Loaders::any); },
                ThrowsMessage<UserError>(HasSubstr("--memory-batch 1099511627776")));
    EXPECT_THAT([&] { enumerate(smollm2(), {.heads = {7}}, all, {}, Loaders::any); },
                ThrowsMessage<UserError>(HasSubstr("KV heads must divide")));
}

}  // namespace
}  // namespace espalier::search
