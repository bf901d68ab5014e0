// Backward is the derivative of forward: each kind of weight against finite differences of the loss.
#include <gtest/gtest.h>

#include <cmath>

#include "src/distill/objective.hpp"
#include "src/train/pipeline.hpp"
#include "tests/model/tiny_models.hpp"

namespace espalier::train {
namespace {

constexpr int64_t seq = 9;

/// f32 rounding of a loss near 4 is about 3e-7; over a step of 1e-2 that is 3e-5 of slope, and the curvature
/// costs as much.
constexpr double slope_tolerance = 5e-4;

struct OneBatch {
    explicit OneBatch(const model::Architecture& a)
        : model(ctx, a, topology, DType::f32, model::Gradients::keep) {
        test::randomise(model, 3);
        const auto ids = test::random_ids(2 * seq, a.vocab, 7);
        batch = {model::make_batch(ctx, ids, 2, seq),
                 test::labels_of(ctx, test::random_ids(2 * seq, a.vocab, 8))};
    }
    double loss() {
        distill::Objective objective(distill::parse_loss_terms("ce", 1));
        const Tensor x = model.forward(ctx, model.embed(ctx, batch.tokens), batch.tokens);
        objective.forward(ctx, model, model.final_hidden(ctx, x, batch.tokens), {}, batch.labels);
        return objective.sums(ctx).label / static_cast<double>(2 * seq);
    }
    void backward(model::Recompute recompute = model::Recompute::selective) {
        distill::Objective objective(distill::parse_loss_terms("ce", 1));
        Pipeline(topology, model, nullptr, {.recompute = recompute})
            .step(ctx, {&batch, 1}, {},
                  [&](const MicroBatch& b, int64_t, const Tensor& hidden, const Tensor&) {
                      return objective.backward(ctx, model, hidden, {}, b.labels, 1.0 / (2 * seq));
                  });
    }

    Context ctx{{Device::cpu, 1}};
    comm::Topology topology;
    model::Transformer model;
    MicroBatch batch;
};

void expect_slopes(const model::Architecture& a) {
    OneBatch s(a);
    s.backward();
    for (const auto& e : s.model.parameters().entries()) {
        Tensor weight = model::ParameterSet::view(s.model.parameters().flat(), &e),
               gradient = model::ParameterSet::view(s.model.gradients(), &e);
        for (const int64_t i : {int64_t{0}, weight.size() / 2, weight.size() - 1}) {
            float& w = weight.data<float>()[i];
            const float before = w, h = 1e-2f;
            w = before + h;
            const double above = s.loss();
            w = before - h;
            const double below = s.loss();
            w = before;
            EXPECT_NEAR((above - below) / (2.0 * static_cast<double>(h)),
                        static_cast<double>(gradient.data<float>()[i]), slope_tolerance)
                << e.parameter.name << " " << i;
        }
    }
}

TEST(Gradient, OfALlamaIsTheSlopeOfItsLoss) {
    expect_slopes(test::tiny_llama());
}

TEST(Gradient, OfATiedLlamaIsTheSlopeOfItsLoss) {
    auto a = test::tiny_llama();
    a.tied = true;
    expect_slopes(a);
}

TEST(Gradient, OfANemotronWithBiasesIsTheSlopeOfItsLoss) {
    expect_slopes(test::tiny_nemotron(true));
}

TEST(Gradient, AddsUpOverMicroBatches) {
    OneBatch s(test::tiny_llama());
    s.backward();
    const std::vector<float> once(s.model.gradients().data<float>(),
                                  s.model.gradients().data<float>() + s.model.gradients().size());

    s.backward();

    for (size_t i = 0; i < once.size(); ++i)
        ASSERT_NEAR(s.model.gradients().data<float>()[i], 2 * once[i], 1e-5f + 1e-5f * std::abs(once[i]));
}

}  // namespace
}  // namespace espalier::train
