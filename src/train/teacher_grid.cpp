#include "src/train/teacher_grid.hpp"

namespace espalier::train {
namespace {

std::vector<StageRoute> with_hidden(std::vector<StageRoute> routes, StageRoute hidden) {
    routes.push_back(hidden);
    return routes;
}

}  // namespace

std::vector<model::StateName> states_of(const std::vector<StateRoute>& routes) {
    std::vector<model::StateName> out;
    for (const auto& route : routes) out.push_back(route.state);
    return out;
}

std::vector<StageRoute> stages_of(const std::vector<StateRoute>& routes, const model::Architecture& teacher,
                                  int stages, int virtual_stages) {
    std::vector<StageRoute> out;
    for (const auto& route : routes)
        out.push_back(
            {model::place_of_state(teacher, stages, virtual_stages, route.state).stage, route.stage});
    return out;
}

TeacherGrid::TeacherGrid(const comm::Topology& student, const comm::Topology& own, model::Transformer& body,
                         std::vector<StateRoute> routes)
    : own_(own),
      body_(body),
      routes_(std::move(routes)),
      exchange_(student, own,
                with_hidden(stages_of(routes_, body.architecture(), own.layout.pp, 1),
                            {own.layout.pp - 1, student.layout.pp - 1})) {}

void TeacherGrid::run(Context& ctx, std::span<const MicroBatch> mine, std::span<const int64_t> tokens_of) {
    exchange_.begin_step(ctx, tokens_of, body_.architecture().hidden, body_.dtype());
    int64_t m = split_evenly(std::ssize(tokens_of), own_.layout.dp, own_.data.rank()).begin;
    model::StateWatch watch(own_.tensor, states_of(routes_), [&](Context& c, size_t route, const Tensor& x) {
        exchange_.send(c, route, m, x);
    });
    for (const MicroBatch& batch : mine) {
        Tensor x = model::enter_stage(ctx, body_, own_, batch.tokens);
        x = body_.forward(ctx, std::move(x), batch.tokens, nullptr, &watch);
        if (own_.last_stage()) {
            const Tensor normed = body_.final_norm(ctx, x);
            watch.report(ctx, {model::Site::final_norm}, normed);
            exchange_.send(ctx, routes_.size(), m, normed);
        } else {
            between_stages_.send(own_.pipeline, x, own_.stage() + 1, comm::activation_tag);
            between_stages_.drain(2);
        }
        ++m;
    }
    between_stages_.drain();
    if (ctx.on_gpu()) exchange_.end_step();
}

namespace {

class RecordedPass : public model::StatePass {
public:
    explicit RecordedPass(model::StateWatch watch) : watch_(std::move(watch)) {}
    model::Observer& observer() override { return watch_; }
    double sum(Context&) override { return 0; }
    model::Injector& injector(double) override { return nothing_; }

private:
    model::StateWatch watch_;
    model::Injector nothing_;
};

}  // namespace

model::Observer& StateRecorder::teacher_pass(int) {
    throw InternalError("a teacher in training has no teacher");
}

std::unique_ptr<model::StatePass> StateRecorder::student_pass(int virtual_stage, const Tensor&) {
    const int64_t m = next_.at(static_cast<size_t>(virtual_stage))++;
    return std::make_unique<RecordedPass>(model::StateWatch(
        teacher_.tensor(), wanted_,
        [this, m](Context& ctx, size_t route, const Tensor& x) { exchange_.send(ctx, route, m, x); }));
}

}  // namespace espalier::train
