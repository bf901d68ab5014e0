// What a cut model is: its weights by hand, and what it computes against the whole model with the rest
// silenced.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numeric>

#include "src/model/logits.hpp"
#include "src/prune/choose.hpp"
#include "src/prune/mask.hpp"
#include "src/prune/slice.hpp"
#include "tests/prune/tiny_scores.hpp"

namespace espalier::prune {
namespace {

using model::Architecture;
using model::Weight;

/// The weights of `kept`, taken in memory as the job takes them from a file.
void cut(Context& ctx, const model::Transformer& source, const Kept& kept, model::Transformer& result) {
    const auto all = model::parameters(source.architecture());
    for (const auto& e : result.parameters().entries()) {
        const auto& from = source_of(kept, e.parameter, all);
        const Tensor x = model::ParameterSet::view(source.parameters().flat(),
                                                   source.parameters().find(from.weight, from.layer));
        const Slices s = slices(source.architecture(), kept, e.parameter);
        Tensor into = ctx.empty(e.local.count, DType::f32);
        take(
            x, 0, s, {0, e.local.count[0]}, [&](int64_t row) { return x.rows(row, 1); }, into);
        std::copy(into.data<float>(), into.data<float>() + into.size(),
                  model::ParameterSet::view(result.parameters().flat(), &e).data<float>());
    }
}

/// Logits [tokens][ids] in double of the model's vocabulary.
test::Values logits(Context& ctx, model::Transformer& model, const std::vector<int32_t>& ids) {
    const int64_t seq = 11;
    const auto tokens = model::make_batch(ctx, ids, static_cast<int64_t>(ids.size()) / seq, seq);
    const Tensor x = model.forward(ctx, model.embed(ctx, tokens), tokens);
    return test::values_of(model::logits(ctx, model, model.final_hidden(ctx, x, tokens)));
}

/// Cuts a random model both ways and compares.
void expect_masked_equals_cut(const Architecture& a, const Kept& kept) {
    Context ctx{{Device::cpu, 1}};
    model::Transformer whole(ctx, a, {}, DType::f32, model::Gradients::none),
        small(ctx, shape(a, kept), {}, DType::f32, model::Gradients::none),
        silenced(ctx, masked_architecture(a, kept), {}, DType::f32, model::Gradients::none);
    test::randomise(whole, 6);
    std::vector<int32_t> ids = test::random_ids(22, small.architecture().vocab, 4), source_ids;
    for (const int32_t id : ids)
        source_ids.push_back(static_cast<int32_t>(kept.vocab[static_cast<size_t>(id)]));

    cut(ctx, whole, kept, small);
    cut(ctx, whole, combined_heads_only(a, kept), silenced);
    mask(silenced, a, kept);

    const auto got = logits(ctx, small, ids), all = logits(ctx, silenced, source_ids);
    test::Values expected;
    for (size_t row = 0; row < ids.size(); ++row) {
        for (const int64_t id : kept.vocab)
            expected.push_back(all[row * static_cast<size_t>(a.vocab) + static_cast<size_t>(id)]);
    }
    EXPECT_TRUE(test::near_all(got, expected, test::tolerance(Device::cpu, DType::f32).times(40)));
}

struct Axis {
    const char* name;
    Target target;
    bool vocab = false;
};

constexpr std::array family_names{"Llama", "Nemotron", "Qwen2", "Qwen3", "Gemma2", "Phi"};

std::string name_of(const testing::TestParamInfo<std::tuple<Axis, int>>& info) {
    return std::string(std::get<0>(info.param).name) + family_names[std::get<1>(info.param)];
}

/// All with 8 dims, 6 query heads in 2 groups, so that one target fits each.
Architecture family(int which) {
    Architecture a = std::array{test::tiny_llama(),     test::tiny_nemotron(true), test::tiny_qwen2(),
                                test::tiny_qwen3(true), test::tiny_gemma2(),       test::tiny_phi()}[which];
    a.head_dim = 8;
    a.rotary_dim = a.norm.kind == NormKind::layer ? 4 : 8;
    for (auto& l : a.layers) l = {6, 2, 17, l.window};
    a.layers.resize(4, a.layers.front());
    a.tied = a.tied || which == 1;
    return a;
}

class MaskedEqualsCut : public testing::TestWithParam<std::tuple<Axis, int>> {};

TEST_P(MaskedEqualsCut, InEveryLogit) {
    const auto& [axis, which] = GetParam();
    const Architecture a = family(which);
    const Scores scores = test::tiny_scores(a, 9);
    Target target = axis.target;
    if (a.qk_norm_eps && target.residual == HeadResidual::paper) target.residual = HeadResidual::laco;

    Kept kept = choose(a, &scores, target, "m");
    if (axis.vocab) kept.vocab = {0, 3, 4, 9, 10, 11, 30, 31, 50};

    expect_masked_equals_cut(a, kept);
}

const Axis axes[]{
    {"Ffn", {.ffn = 10}},
    {"QueryHeads", {.heads = 4}},
    {"KvGroups", {.kv_heads = 1}},
    {"Hidden", {.hidden = 13}},
    {"Layers", {.depth = {.layers = 3}}},
    {"HeadDim", {.head_dim = 4}},
    {"PaperResidual", {.heads = 4, .residual = HeadResidual::paper}},
    {"LacoResidual", {.heads = 4, .residual = HeadResidual::laco}},
    {"Vocabulary", {}, true},
    {"Everything",
     {.hidden = 14,
      .heads = 4,
      .ffn = 9,
      .head_dim = 4,
      .depth = {.layers = 2},
      .residual = HeadResidual::paper},
     true},
};
INSTANTIATE_TEST_SUITE_P(Axes, MaskedEqualsCut,
                         testing::Combine(testing::ValuesIn(axes),
                                          testing::Range(0, static_cast<int>(family_names.size()))),
                         name_of);

TEST(MaskedEqualsCut, WithAResidualOfHeadsThatHaveTheirOwnKeysAndValues) {
    Architecture a = family(1);
    a.layers.assign(2, {4, 4, 17});
    const Scores scores = test::tiny_scores(a, 9);
    const Kept kept = choose(a, &scores, {.heads = 3, .kv_heads = 3, .residual = HeadResidual::paper}, "m");
    Context ctx{{Device::cpu, 1}};
    model::Transformer whole(ctx, a, {}, DType::f32, model::Gradients::none),
        small(ctx, shape(a, kept), {}, DType::f32, model::Gradients::none);
    test::randomise(whole, 6);

    cut(ctx, whole, kept, small);

    const auto pair = kept.pairs[0][0];
    const auto at = std::find(kept.heads[0].begin(), kept.heads[0].end(), pair.kept) - kept.heads[0].begin();
    for (const Weight w :
         {Weight::query, Weight::key, Weight::value, Weight::query_bias, Weight::value_bias}) {
        const auto view = [&](const model::Transformer& m, int64_t row) {
            return test::values_of(
                model::ParameterSet::view(m.parameters().flat(), m.parameters().find(w, 0)).rows(row, 1));
        };
        const auto got = view(small, at), own = view(whole, pair.kept), other = view(whole, pair.dropped);
        for (size_t i = 0; i < got.size(); ++i)
            EXPECT_FLOAT_EQ(static_cast<float>(got[i]), static_cast<float>(2 * own[i] - other[i]));
    }
}

/// One layer whose weights are their own position, so that every number of the cut can be told by hand.
class ByHand : public testing::Test {
protected:
    ByHand() {
        a_.vocab = 3;
        a_.hidden = 2;
        a_.head_dim = 4;
        a_.rotary_dim = 4;
        a_.layers.assign(1, {4, 2, 3});
        a_.max_positions = 8;
    }

    test::Values cut_of(Weight weight, const Kept& kept) {
        const auto source = model::parameters(a_), target = model::parameters(shape(a_, kept));
        const auto& p = *std::find_if(target.begin(), target.end(),
                                      [&](const model::Parameter& q) { return q.weight == weight; });
        const auto& from = source_of(kept, p, source);
        test::Values all(static_cast<size_t>(from.size()));
        std::iota(all.begin(), all.end(), 0.0);
        const Tensor x = test::tensor_of(ctx_, all, from.shape, DType::f32);
        Tensor out = ctx_.empty(p.shape, DType::f32);
        take(
            x, 0, slices(a_, kept, p), {0, p.shape[0]}, [&](int64_t row) { return x.rows(row, 1); }, out);
        return test::values_of(out);
    }

    Context ctx_{{Device::cpu, 1}};
    Architecture a_;
};

TEST_F(ByHand, RowsAndColumnsOfEveryAxis) {
    Kept kept = keep_all(a_);
    kept.ffn = {{0, 2}};
    kept.heads = {{1, 2}};
    kept.vocab = {0, 2};

    EXPECT_EQ(cut_of(Weight::up, kept), (test::Values{0, 1, 4, 5}));
    EXPECT_EQ(cut_of(Weight::down, kept), (test::Values{0, 2, 3, 5}));
    EXPECT_EQ(cut_of(Weight::token_embedding, kept), (test::Values{0, 1, 4, 5}));
    kept.channels = {1};
    EXPECT_EQ(cut_of(Weight::query, kept), (test::Values{9, 11, 13, 15, 17, 19, 21, 23}));
    EXPECT_EQ(cut_of(Weight::attention_out, kept), (test::Values{20, 21, 22, 23, 24, 25, 26, 27}));
    EXPECT_EQ(cut_of(Weight::attention_norm, kept), (test::Values{1}));
}

TEST_F(ByHand, ResidualHeadsTakeTheirQueriesFromTheDroppedOne) {
    Kept kept = keep_all(a_);
    kept.heads = {{0, 3}};
    kept.pairs = {{{0, 1}, {3, 2}}};
    // Head h of the queries is 8 h .. 8 h + 7.
    kept.residual = HeadResidual::paper;  // 2 head 0 - head 1, 2 head 3 - head 2
    EXPECT_EQ(cut_of(Weight::query, kept),
              (test::Values{-8, -7, -6, -5, -4, -3, -2, -1, 32, 33, 34, 35, 36, 37, 38, 39}));
    kept.residual = HeadResidual::laco;  // head 1, head 2
    EXPECT_EQ(cut_of(Weight::query, kept),
              (test::Values{8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}));
    // The output projection belongs to no head, keys and values to the whole group.
    EXPECT_EQ(cut_of(Weight::attention_out, kept),
              (test::Values{0, 1, 2, 3, 12, 13, 14, 15, 16, 17, 18, 19, 28, 29, 30, 31}));
    EXPECT_EQ(cut_of(Weight::key, kept).size(), 16U);
    EXPECT_EQ(cut_of(Weight::key, kept)[15], 15);
}

TEST_F(ByHand, HeadDimsStayInPairsAndQueriesAreScaled) {
    Kept kept = keep_all(a_);
    kept.rotary = {1, 1, 1};
    kept.head_dims = {{{{1, 3}, {0, 1}}, {{1, 3}, {2, 3}}}};

    EXPECT_EQ(cut_of(Weight::key, kept), (test::Values{2, 3, 6, 7, 10, 11, 14, 15}));
    EXPECT_EQ(cut_of(Weight::value, kept), (test::Values{0, 1, 2, 3, 12, 13, 14, 15}));
    EXPECT_EQ(cut_of(Weight::attention_out, kept),
              (test::Values{0, 1, 4, 5, 10, 11, 14, 15, 16, 17, 20, 21, 26, 27, 30, 31}));
    const auto queries = cut_of(Weight::query, kept);
    EXPECT_FLOAT_EQ(static_cast<float>(queries[0]), static_cast<float>(2 * std::sqrt(0.5)));
}

TEST_F(ByHand, NormsOfHeadsKeepTheDimsOfTheirHeadsAndScaleTheQueries) {
    a_.qk_norm_eps = 1e-6f;
    Kept kept = keep_all(a_);
    EXPECT_EQ(cut_of(Weight::query_norm, kept), (test::Values{0, 1, 2, 3}));
    kept.rotary = {1, 1, 1};
    kept.head_dims = {{{{1, 3}, {0, 1}}, {{1, 3}, {2, 3}}}};

    const auto norm = cut_of(Weight::query_norm, kept);

    EXPECT_FLOAT_EQ(static_cast<float>(norm[0]), static_cast<float>(std::sqrt(0.5)));
    EXPECT_FLOAT_EQ(static_cast<float>(norm[1]), static_cast<float>(3 * std::sqrt(0.5)));
    EXPECT_EQ(cut_of(Weight::key_norm, kept), (test::Values{1, 3}));
    EXPECT_EQ(cut_of(Weight::query, kept)[0], 2);  // the norm behind it would undo a scale
}

TEST(Cut, OfLayersSkipsThem) {
    const Architecture a = test::tiny_llama();
    Context ctx{{Device::cpu, 1}};
    const Kept kept = choose(a, nullptr, {.depth = {.drop = {1}}}, "m");
    model::Transformer whole(ctx, a, {}, DType::f32, model::Gradients::none),
        small(ctx, shape(a, kept), {}, DType::f32, model::Gradients::none);
    test::randomise(whole, 6);

    cut(ctx, whole, kept, small);

    ASSERT_EQ(small.architecture().layers,
              (std::vector<model::LayerShape>{a.layers[0], a.layers[2], a.layers[3]}));
    const auto tokens = model::make_batch(ctx, test::random_ids(5, a.vocab, 4), 1, 5);
    Tensor x = whole.embed(ctx, tokens);
    for (const int64_t layer : kept.layers) x = whole.forward_layer(ctx, layer, x, tokens, {});
    EXPECT_TRUE(test::same_bits(small.forward(ctx, small.embed(ctx, tokens), tokens), x));
}

}  // namespace
}  // namespace espalier::prune
