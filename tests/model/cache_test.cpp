// A sequence token by token over a cache is the sequence as a whole.
#include <gtest/gtest.h>

#include "tests/model/tiny_models.hpp"
#include "tests/support/compare.hpp"

namespace espalier::model {
namespace {

constexpr int64_t seq = 9;

void expect_cached_equals_whole(const Architecture& a) {
    Context ctx({Device::cpu, 1});
    Transformer model(ctx, a, comm::Topology{}, DType::f32, Gradients::none);
    test::randomise(model, 3);
    const auto ids = test::random_ids(seq, a.vocab, 4);
    const auto all = make_batch(ctx, ids, 1, seq);
    const Tensor whole = model.forward(ctx, model.embed(ctx, all), all);
    std::vector<LayerCache> caches;
    for (int64_t l = 0; l < a.depth(); ++l) {
        const Shape shape{seq, model.layer(l).cache_width()};
        caches.push_back({ctx.zeros(shape, DType::f32), ctx.zeros(shape, DType::f32)});
    }

    for (int64_t i = 0; i < seq; ++i) {
        const auto token = make_batch(ctx, {ids[static_cast<size_t>(i)]}, 1, 1, i);
        Tensor x = model.embed(ctx, token);
        for (int64_t l = 0; l < a.depth(); ++l) {
            const CacheUse use{&caches[static_cast<size_t>(l)], i + 1};
            x = model.forward_layer(ctx, l, x, token, {.cache = &use});
        }

        EXPECT_TRUE(test::near_all(x, test::values_of(whole.rows(i, 1)),
                                   test::tolerance(Device::cpu, DType::f32).times(40)))
            << to_string(a.family) << " " << i;
    }
}

TEST(Cache, GivesWhatTheWholeSequenceDoes) {
    for (const auto& a : {test::tiny_llama(), test::tiny_nemotron(true), test::tiny_qwen2(),
                          test::tiny_qwen3(), test::tiny_gemma2(), test::tiny_phi()})
        expect_cached_equals_whole(a);
}

}  // namespace
}  // namespace espalier::model
