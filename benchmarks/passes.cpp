#include "benchmarks/passes.hpp"

#include <algorithm>
#include <memory>

#include "benchmarks/yardstick.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/matmul.hpp"
#include "src/core/random.hpp"
#include "src/distill/objective.hpp"
#include "src/model/logits.hpp"
#include "src/prune/scoring_pass.hpp"
#include "src/train/gradient_reducer.hpp"
#include "src/train/optimizer.hpp"

namespace espalier::benchmarks {
namespace {

std::vector<train::MicroBatch> micro_batches(const Setup& s, int64_t vocab) {
    std::vector<train::MicroBatch> out;
    const Range mine = split_evenly(s.batch / s.micro_batch, s.topology.layout.dp, s.topology.data.rank());
    for (int64_t m = mine.begin; m < mine.end; ++m) {
        std::vector<int32_t> ids;
        for (int64_t i = 0; i < s.micro_batch * s.seq; ++i)
            ids.push_back(static_cast<int32_t>(mix64(static_cast<uint64_t>(m * 100000 + i)) %
                                               static_cast<uint64_t>(vocab)));
        const Tensor labels = s.ctx.empty_on_host({s.micro_batch * s.seq}, DType::i32);
        std::copy(ids.begin(), ids.end(), labels.data<int32_t>());
        out.push_back({model::make_batch(s.ctx, ids, s.micro_batch, s.seq), s.ctx.to_device(labels)});
    }
    return out;
}

}  // namespace

void randomise(Context& ctx, model::Transformer& model) {
    constexpr int64_t drawn = 1 << 20;  // over and over
    const Tensor values = numbers(ctx, {drawn}, DType::f32);
    Tensor scaled = values;
    scale(ctx, 0.14f, scaled);
    Tensor& flat = model.parameters().flat();
    for (int64_t at = 0; at < flat.size(); at += drawn) {
        const int64_t count = std::min(drawn, flat.size() - at);
        Tensor part = flat.slice(at, {count});
        convert(ctx, scaled.slice(0, {count}), part);
    }
}

Work forward(const Setup& s, model::Transformer& model, Scoring scoring) {
    struct State {
        State(const Setup& s, model::Transformer& model)
            : batches(micro_batches(s, model.architecture().vocab)),
              sums(model.architecture(), 0),
              scorer(model, prune::NeuronSite::after_activation, sums) {}
        std::vector<train::MicroBatch> batches;
        prune::ScoreSums sums;
        prune::Scorer scorer;
    };
    auto state = std::make_shared<State>(s, model);
    // The last micro-batch's statistics are added up beside the next call's first.
    return [=, &s, &model] {
        model::Outbox outbox;
        for (const auto& b : state->batches) {
            if (scoring == Scoring::yes) {
                prune::scoring_pass(s.ctx, model, s.topology, b.tokens, b.labels, {}, state->scorer, outbox);
            } else if (const Tensor hidden =
                           model::forward_pipeline(s.ctx, model, s.topology, b.tokens, outbox)) {
                model::token_losses(s.ctx, model, hidden, b.labels);
            }
        }
        outbox.drain();
    };
}

Work training_step(const Setup& s, model::Transformer* teacher, model::Transformer& student) {
    struct State {
        State(const Setup& s, model::Transformer* teacher, model::Transformer& student)
            : batches(micro_batches(s, student.architecture().vocab)),
              optimizer(s.ctx, student, {}, s.topology.data),
              reducer(student, s.topology, optimizer.shards()),
              objective(distill::parse_loss_terms(teacher ? "kl" : "ce", 1)),
              pipeline(s.topology, student, teacher) {}
        std::vector<train::MicroBatch> batches;
        train::Optimizer optimizer;
        train::GradientReducer reducer;
        distill::Objective objective;
        train::Pipeline pipeline;
        int64_t step = 0;
    };
    auto state = std::make_shared<State>(s, teacher, student);
    return [=, &s, &student] {
        fill(s.ctx, 0.0f, student.gradients());
        state->objective.reset();
        const auto loss = [&](const train::MicroBatch& b, const Tensor& hidden, const Tensor& from) {
            return state->objective.backward(
                s.ctx, student, hidden, teacher ? distill::live_teacher(*teacher, from) : distill::Teacher{},
                b.labels, 1.0 / s.tokens());
        };
        state->pipeline.step(s.ctx, state->batches, state->batches, loss, &state->reducer);
        state->objective.sums(s.ctx);
        auto& optimizer = state->optimizer;
        state->reducer.finish(s.ctx);
        const double norm = train::gradient_norm(s.ctx, student.gradients(), optimizer.owned(), s.topology);
        optimizer.step(s.ctx, ++state->step, 1e-4, std::min(1.0, 1.0 / norm));
    };
}

Work fused_head(const Setup& s, const distill::LossTerms& loss, model::Transformer& teacher,
                model::Transformer& student) {
    const int64_t tokens = s.micro_batch * s.seq;
    const Tensor hidden_t = numbers(s.ctx, {tokens, teacher.architecture().hidden}, s.dtype),
                 hidden_s = numbers(s.ctx, {tokens, student.architecture().hidden}, s.dtype),
                 labels = micro_batches(s, student.architecture().vocab).at(0).labels;
    auto objective = std::make_shared<distill::Objective>(loss);
    return [=, &s, &teacher, &student] {
        objective->backward(s.ctx, student, hidden_s, distill::live_teacher(teacher, hidden_t), labels,
                            1.0 / static_cast<double>(tokens));
        objective->sums(s.ctx);
    };
}

Work head_products(const Setup& s, model::Transformer& teacher, model::Transformer& student) {
    const int64_t tokens = s.micro_batch * s.seq;
    const Tensor hidden_t = numbers(s.ctx, {tokens, teacher.architecture().hidden}, s.dtype),
                 hidden_s = numbers(s.ctx, {tokens, student.architecture().hidden}, s.dtype),
                 d_logits = numbers(s.ctx, {tokens, student.head().dim(0)}, s.dtype);
    Tensor z = s.ctx.empty({tokens, student.head().dim(0)}, DType::f32),
           d_hidden = s.ctx.empty(hidden_s.shape(), s.dtype);
    return [=, &s, &teacher, &student]() mutable {
        matmul(s.ctx, hidden_t, teacher.head(), {}, z);
        matmul(s.ctx, hidden_s, student.head(), {}, z);
        matmul_backward_input(s.ctx, d_logits, student.head(), d_hidden);
        Tensor d_head = student.head_gradient();
        matmul_backward_weight(s.ctx, d_logits, hidden_s, d_head);
    };
}

}  // namespace espalier::benchmarks
