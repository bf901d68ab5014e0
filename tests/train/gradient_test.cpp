// Backward is the derivative of forward: each kind of weight against finite differences of the loss.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "src/distill/objective.hpp"
#include "src/distill/state_loss.hpp"
#include "src/model/logits.hpp"
#include "src/train/pipeline.hpp"
#include "tests/model/tiny_models.hpp"

namespace espalier::train {
namespace {

constexpr int64_t seq = 9;

/// f32 rounding of a loss near 4 is about 3e-7; over a step of 1e-2 that is some 3e-5 of slope.
constexpr double slope_tolerance = 5e-4;

struct OneBatch {
    explicit OneBatch(const model::Architecture& a)
        : model(ctx, a, topology, DType::f32, model::Gradients::keep) {
        test::randomise(model, 3);
        const auto ids = test::random_ids(2 * seq, a.vocab, 7);
        batch = {model::make_batch(ctx, ids, 2, seq),
                 test::labels_of(ctx, test::random_ids(2 * seq, a.vocab, 8))};
    }
    Tensor hidden() {
        const Tensor x = model.forward(ctx, model.embed(ctx, batch.tokens), batch.tokens);
        return model.final_hidden(ctx, x, batch.tokens);
    }
    double loss() {
        const auto losses = model::token_losses(ctx, model, hidden(), batch.labels);
        return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(2 * seq);
    }
    void backward() {
        distill::Objective objective(distill::parse_loss_terms("ce", 1));
        Pipeline(topology, model, nullptr)
            .step(ctx, {&batch, 1}, {}, [&](const MicroBatch& b, const Tensor& hidden, const Tensor&) {
                return objective.backward(ctx, model, hidden, {}, b.labels, 1.0 / (2 * seq));
            });
    }

    Context ctx{{Device::cpu, 1}};
    comm::Topology topology;
    model::Transformer model;
    MicroBatch batch;
};

/// Of the loss in w, by central differences over h and 2 h, which leave no error before the fifth derivative.
template <class Loss>
double slope(float& w, Loss loss) {
    constexpr float h = 1e-2f;
    const float at = w;
    const auto difference = [&](float step) {
        w = at + step;
        const double above = loss();
        w = at - step;
        const double below = loss();
        w = at;
        return above - below;
    };
    return (8 * difference(h) - difference(2 * h)) / (12 * static_cast<double>(h));
}

void expect_slopes(const model::Architecture& a) {
    OneBatch s(a);
    s.backward();
    for (const auto& e : s.model.parameters().entries()) {
        Tensor weight = model::ParameterSet::view(s.model.parameters().flat(), &e),
               gradient = model::ParameterSet::view(s.model.gradients(), &e);
        for (const int64_t i : {int64_t{0}, weight.size() / 2, weight.size() - 1}) {
            float& w = weight.data<float>()[i];
            EXPECT_NEAR(slope(w, [&] { return s.loss(); }), static_cast<double>(gradient.data<float>()[i]),
                        slope_tolerance)
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

TEST(Gradient, OfAQwen2IsTheSlopeOfItsLoss) {
    expect_slopes(test::tiny_qwen2());
}

TEST(Gradient, OfAQwen3IsTheSlopeOfItsLoss) {
    expect_slopes(test::tiny_qwen3());
}

TEST(Gradient, OfAQwen3WithBiasesIsTheSlopeOfItsLoss) {
    expect_slopes(test::tiny_qwen3(true));
}

TEST(Gradient, OfANemotronWithBiasesIsTheSlopeOfItsLoss) {
    expect_slopes(test::tiny_nemotron(true));
}

TEST(Gradient, OfAGemma2IsTheSlopeOfItsLoss) {
    expect_slopes(test::tiny_gemma2());
}

TEST(Gradient, OfAPhiIsTheSlopeOfItsLoss) {
    expect_slopes(test::tiny_phi());
}

/// kl + ce + alpha * (distances of hidden states), with a teacher that is wider and deeper.
struct OneDistilledBatch {
    OneDistilledBatch(const model::Architecture& a, const char* map, const char* distance)
        : one(a),
          teacher(one.ctx, teacher_of(a), one.topology, DType::f32, model::Gradients::none),
          projection(one.ctx, a.hidden + 5, a.hidden, DType::f32),
          states(distill::resolved(distill::parse_state_terms(map, distance, "auto"), teacher.architecture(),
                                   "teacher", a, "student"),
                 one.model, one.topology, &projection) {
        test::randomise(teacher, 5);
        projection.scatter(one.ctx, 6);
    }
    static model::Architecture teacher_of(model::Architecture a) {
        a.hidden += 5;
        a.layers.push_back(a.layers.back());
        return a;
    }
    /// Of the student's and the projection's weights as they are; alpha: what balances the losses as they
    /// are.
    double backward() {
        distill::Objective objective(distill::parse_loss_terms("kl=1,ce=0.5", 1.5));
        states.begin_step(1.0 / (2 * seq));
        Pipeline(one.topology, one.model, &teacher, model::Recompute::selective, &states)
            .step(one.ctx, {&one.batch, 1}, {},
                  [&](const MicroBatch& b, const Tensor& hidden, const Tensor& teacher_hidden) {
                      const Tensor d = objective.backward(one.ctx, one.model, hidden,
                                                          distill::live_teacher(teacher, teacher_hidden),
                                                          b.labels, 1.0 / (2 * seq));
                      states.balance_with(objective.sums(one.ctx).divergence);
                      return d;
                  });
        logits_loss = objective.sums(one.ctx).objective(objective.terms());
        return states.sums().loss / states.sums().distance;
    }
    double loss(double alpha) {
        backward();
        return logits_loss + alpha * states.sums().distance / (2 * seq);
    }

    OneBatch one;
    model::Transformer teacher;
    distill::Projection projection;
    distill::StateLoss states;
    double logits_loss = 0;
};

void expect_slopes_with_states(const model::Architecture& a, const char* map, const char* distance) {
    OneDistilledBatch s(a, map, distance);
    const double alpha = s.backward();
    ASSERT_GT(alpha, 0);
    const auto copy = [&](const Tensor& x) {
        const auto values = x.span<float>();
        return std::vector<float>(values.begin(), values.end());
    };
    const auto of_model = copy(s.one.model.gradients()), of_projection = copy(s.projection.gradients());
    const auto expect_slope = [&](float& w, float gradient, const std::string& where) {
        EXPECT_NEAR(slope(w, [&] { return s.loss(alpha); }), static_cast<double>(gradient), slope_tolerance)
            << where;
    };

    for (const auto& e : s.one.model.parameters().entries()) {
        for (const int64_t i : {int64_t{0}, e.size() / 2, e.size() - 1}) {
            const auto at = static_cast<size_t>(e.offset + i);
            expect_slope(s.one.model.parameters().flat().data<float>()[at], of_model[at],
                         fmt::format("{} {}", e.parameter.name, i));
        }
    }
    for (size_t at = 0; at < of_projection.size(); at += 37)
        expect_slope(s.projection.parameters().flat().data<float>()[at], of_projection[at],
                     fmt::format("projection {}", at));
}

TEST(Gradient, OfALlamaWithHiddenStatesIsTheSlopeOfItsLoss) {
    expect_slopes_with_states(test::tiny_llama(), "embedding,1:0,block:3:2,4:3,mlp:2:1,attention:3:2",
                              "cosine");
}

TEST(Gradient, OfANemotronWithHiddenStatesIsTheSlopeOfItsLoss) {
    expect_slopes_with_states(test::tiny_nemotron(true), "embedding,3:2,block:2:1,mlp:1:1,attention:0:0",
                              "mse");
}

/// Whose MLP reads what attention reads.
TEST(Gradient, OfAPhiWithHiddenStatesIsTheSlopeOfItsLoss) {
    expect_slopes_with_states(test::tiny_phi(), "embedding,3:2,block:2:1,mlp:1:1,attention:0:0", "cosine");
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

TEST(Objective, OverAsManyTopTokensAsThereAreIsRefused) {
    OneBatch s(test::tiny_llama());
    const Tensor hidden = s.hidden();
    const auto teacher = distill::live_teacher(s.model, hidden);
    const auto loss_over = [&](int64_t top_k) {
        distill::Objective objective(distill::parse_loss_terms("kl", 1, top_k));
        objective.backward(s.ctx, s.model, hidden, teacher, s.batch.labels, 1);
    };
    const int64_t vocab = s.model.architecture().vocab;

    EXPECT_NO_THROW(loss_over(vocab - 1));
    EXPECT_THROW(loss_over(vocab), UserError);
}

}  // namespace
}  // namespace espalier::train
