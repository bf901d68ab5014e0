#include <gtest/gtest.h>

#include <numeric>

#include "src/evaluate/windows.hpp"
#include "src/model/vocabulary.hpp"
#include "src/prune/slice.hpp"
#include "tests/model/tiny_models.hpp"
#include "tests/support/compare.hpp"

namespace espalier::prune {
namespace {

using model::Architecture;

Scores scores_of(const Architecture& a, uint64_t seed) {
    Scores s;
    for (const auto& l : a.layers) {
        s.neurons.push_back(test::random_values(l.ffn, seed++));
        s.heads.push_back(test::random_values(l.query_heads, seed++));
    }
    s.channels = test::random_values(a.hidden, seed++);
    s.depth.influence.layers = test::random_values(a.depth(), seed++);
    return s;
}

TEST(Best, TakesTheLargestAndOfEqualOnesTheLower) {
    EXPECT_EQ(best({1, 5, 3, 5, 5}, 2), (std::vector<int64_t>{1, 3}));
    EXPECT_EQ(best({2, 1}, 2), (std::vector<int64_t>{0, 1}));
}

TEST(Choose, KeepsTheBestHeadsInsideTheBestGroups) {
    Architecture a = test::tiny_llama();
    a.layers.assign(1, {6, 3, 17});  // groups 0 1 | 2 3 | 4 5
    Scores s = scores_of(a, 1);
    s.heads[0] = {9, 1, 2, 3, 4, 5};  // group sums 10, 5, 9

    const Kept kept = choose(a, &s, {.heads = 2, .kv_heads = 2}, "m");

    EXPECT_EQ(kept.kv_heads[0], (std::vector<int64_t>{0, 2}));
    EXPECT_EQ(kept.heads[0], (std::vector<int64_t>{0, 5}));
}

TEST(Choose, FewerKvHeadsAloneTakeTheirQueryHeadsAlong) {
    Architecture a = test::tiny_llama();
    a.layers.assign(1, {6, 3, 17});
    Scores s = scores_of(a, 1);
    s.heads[0] = {1, 1, 5, 5, 2, 2};

    const Kept kept = choose(a, &s, {.kv_heads = 1}, "m");

    EXPECT_EQ(kept.heads[0], (std::vector<int64_t>{2, 3}));
}

TEST(Choose, DropsTheLayersOfLowestInfluence) {
    const Architecture a = test::tiny_llama();
    Scores s = scores_of(a, 1);
    s.depth.influence.layers = {0.4, 0.1, 0.3, 0.2};

    EXPECT_EQ(choose(a, &s, {.depth = {.layers = 2}}, "m").layers, (std::vector<int64_t>{0, 2}));
    EXPECT_EQ(choose(a, nullptr, {.depth = {.drop = {1, 2}}}, "m").layers, (std::vector<int64_t>{0, 3}));
}

TEST(Choose, DropsTheLayersThatTheChosenMeasureMissesLeast) {
    const Architecture a = test::tiny_llama();
    Scores s = scores_of(a, 1);
    s.depth.loss_without = {{3.0, 9.0, 2.0, 5.0}, {4.0, 3.0, 3.5}};
    s.depth.accuracy_without = {{0.5, 0.25, 0.5, 0.75}, {0.25, 0.5, 0.5}};
    s.depth.block = 2;
    const auto kept = [&](DepthBy by, DepthStyle style) {
        return choose(a, &s, {.depth = {.layers = 2, .by = by, .style = style}}, "m").layers;
    };

    EXPECT_EQ(kept(DepthBy::loss, DepthStyle::scattered), (std::vector<int64_t>{1, 3}));
    EXPECT_EQ(kept(DepthBy::accuracy, DepthStyle::scattered), (std::vector<int64_t>{0, 1}));
    EXPECT_EQ(kept(DepthBy::loss, DepthStyle::contiguous), (std::vector<int64_t>{0, 3}));
    EXPECT_EQ(kept(DepthBy::accuracy, DepthStyle::contiguous), (std::vector<int64_t>{0, 1}));
    EXPECT_THROW(kept(DepthBy::influence, DepthStyle::contiguous), UserError);  // no blocks measured
    s.depth.block = 3;
    EXPECT_THROW(kept(DepthBy::loss, DepthStyle::contiguous), UserError);  // blocks of another width
}

TEST(Choose, RefusesWhatTheModelLacksAndSaysWhatFits) {
    const Architecture a = test::tiny_nemotron();  // 4 query heads in 2 groups
    const Scores s = scores_of(a, 1);
    const auto message = [&](const Target& target) -> std::string {
        try {
            choose(a, &s, target, "m.h5");
        } catch (const UserError& e) {
            return e.what();
        }
        return "";
    };

    EXPECT_NE(message({.heads = 5}).find("--heads <= 4"), std::string::npos);
    EXPECT_NE(message({.heads = 3}).find("not a multiple of --kv-heads 2"), std::string::npos);
    EXPECT_NE(message({.hidden = 0}), "");
    EXPECT_NE(message({.heads = 4, .kv_heads = 1}), "");
}

TEST(ParseLayers, ReadsRangesAndLists) {
    EXPECT_EQ(parse_layers("3,7-9,8", 12), (std::vector<int64_t>{3, 7, 8, 9}));
    for (const char* bad : {"", "x", "3-", "9-7", "12", "-1"})
        EXPECT_THROW(parse_layers(bad, 12), UserError) << bad;
}

TEST(Take, PicksTheCrossProductOfIndices) {
    Context ctx{{Device::cpu, 1}};
    test::Values all(24);
    std::iota(all.begin(), all.end(), 0.0);
    const Tensor x = test::tensor_of(ctx, all, {2, 3, 4}, DType::f32);
    Tensor out = ctx.empty({1, 2, 3}, DType::f32);

    take(x, {{1}, {0, 2}, {0, 1, 3}}, out);

    EXPECT_EQ(test::values_of(out), (test::Values{12, 13, 15, 20, 21, 23}));
}

/// A whole model's weights cut in memory, as the job does it tensor by tensor.
void cut(Context& ctx, const model::Transformer& source, const Kept& kept, model::Transformer& result) {
    const auto rows = model::parameters(source.architecture());
    for (const auto& e : result.parameters().entries()) {
        const std::string name = source_name(kept, e.parameter, rows);
        const auto* from = source.parameters().find(
            e.parameter.weight,
            e.parameter.layer < 0 ? -1 : kept.layers[static_cast<size_t>(e.parameter.layer)]);
        ASSERT_EQ(from->parameter.name, name);
        Tensor into = ctx.empty(e.local.count, DType::f32);
        take(model::ParameterSet::view(source.parameters().flat(), from),
             kept_indices(source.architecture(), kept, e.parameter), into);
        std::copy(into.data<float>(), into.data<float>() + into.size(),
                  model::ParameterSet::view(result.parameters().flat(), &e).data<float>());
    }
}

/// Zeroes what neurons and heads that go hand on, so that the whole model computes what the cut one does.
void mask(const model::Transformer& model, const Kept& kept) {
    const auto& a = model.architecture();
    for (size_t k = 0; k < kept.layers.size(); ++k) {
        const int64_t layer = kept.layers[k];
        const auto zero_columns = [&](model::Weight weight, const std::vector<int64_t>& stay, int64_t width) {
            Tensor w =
                model::ParameterSet::view(model.parameters().flat(), model.parameters().find(weight, layer));
            const int64_t columns = w.size() / w.dim(0);
            for (int64_t i = 0; i < w.size(); ++i) {
                if (!std::binary_search(stay.begin(), stay.end(), i % columns / width))
                    w.data<float>()[i] = 0;
            }
        };
        zero_columns(model::Weight::down, kept.ffn[k], 1);
        zero_columns(model::Weight::attention_out, kept.heads[k], a.head_dim);
    }
}

std::vector<double> losses(Context& ctx, model::Transformer& model) {
    const int64_t seq = 11;
    const auto tokens =
        model::make_batch(ctx, test::random_ids(2 * seq, model.architecture().vocab, 4), 2, seq);
    const Tensor x = model.forward(ctx, model.embed(ctx, tokens), tokens);
    return model::token_losses(
        ctx, model, model.final_hidden(ctx, x, tokens),
        test::labels_of(ctx, test::random_ids(2 * seq, model.architecture().vocab, 5)));
}

TEST(Cut, OfNeuronsAndHeadsComputesWhatTheMaskedModelDoes) {
    for (Architecture a : {test::tiny_llama(), test::tiny_nemotron(true)}) {
        a.layers.assign(a.layers.size(), a.layers[0]);
        Context ctx{{Device::cpu, 1}};
        const Scores s = scores_of(a, 9);
        const int64_t kv = a.layers[0].kv_heads;
        const Kept kept = choose(a, &s, {.heads = kv, .ffn = 10}, "m");
        model::Transformer whole(ctx, a, {}, DType::f32, model::Gradients::none),
            small(ctx, shape(a, kept), {}, DType::f32, model::Gradients::none);
        test::randomise(whole, 6);

        cut(ctx, whole, kept, small);
        mask(whole, kept);

        EXPECT_TRUE(test::near_all(losses(ctx, small), losses(ctx, whole),
                                   test::tolerance(Device::cpu, DType::f32).times(20)));
    }
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

TEST(Windows, PredictEveryTokenButTheFirstOnce) {
    for (const int64_t tokens : {2, 9, 10, 11, 100}) {
        for (const int64_t stride : {3, 9}) {
            int64_t scored = 0;
            for (const auto& w : evaluate::windows(tokens, 9, stride)) {
                EXPECT_LE(w.length, 10);
                EXPECT_EQ(w.begin + w.length - 1 - w.scored, scored);  // picks up where the last ended
                scored += w.scored;
            }
            EXPECT_EQ(scored, tokens - 1);
        }
    }
}

}  // namespace
}  // namespace espalier::prune
