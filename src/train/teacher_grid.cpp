#include "src/train/teacher_grid.hpp"

namespace espalier::train {
namespace {

int world_rank(const comm::Layout& grid, int replica, int stage, int tensor) {
    return (replica * grid.pp + stage) * grid.tp + tensor;
}

int replica_of(int64_t micro_batch, int64_t of_all, int replicas) {
    int r = 0;
    while (!split_evenly(of_all, replicas, r).contains(micro_batch)) ++r;
    return r;
}

/// Messages of a step are told apart by micro-batch, modulo what any MPI allows.
int tag_of(int64_t micro_batch) {
    return static_cast<int>(micro_batch % 30000);
}

}  // namespace

TeacherGrid::TeacherGrid(const comm::Topology& student, const comm::Topology& own, model::Transformer& body)
    : student_(student), own_(own), body_(body) {}

void TeacherGrid::expect(Context& ctx, std::span<const int64_t> tokens_of) {
    if (!student_.last_stage()) return;
    const auto all = static_cast<int64_t>(tokens_of.size());
    const Range mine = split_evenly(all, student_.layout.dp, student_.data.rank());
    for (int64_t m = mine.begin; m < mine.end; ++m) {
        const int64_t tokens = tokens_of[static_cast<size_t>(m)];
        const Range rows = comm::my_rows(student_.tensor, tokens);
        Expected& e = expected_.emplace_back();
        e.tokens = tokens;
        e.part = ctx.empty_on_host({rows.size(), body_.architecture().hidden}, body_.dtype());
        const int replica = replica_of(m, all, own_.layout.dp);
        for (int t = 0; t < own_.layout.tp; ++t) {
            const Range common = intersection(rows, split_evenly(tokens, own_.layout.tp, t));
            if (common.size() == 0) continue;
            Tensor into = e.part.rows(common.begin - rows.begin, common.size());
            e.messages.push_back(student_.world.receive(
                into, world_rank(own_.layout, replica, own_.layout.pp - 1, t), tag_of(m)));
        }
    }
}

void TeacherGrid::send(const Tensor& y, int64_t micro_batch, int64_t tokens, int64_t of_all) {
    const Range rows = comm::my_rows(own_.tensor, tokens);
    const int replica = replica_of(micro_batch, of_all, student_.layout.dp);
    for (int t = 0; t < student_.layout.tp; ++t) {
        const Range common = intersection(rows, split_evenly(tokens, student_.layout.tp, t));
        if (common.size() == 0) continue;
        to_student_.send(student_.world, y.rows(common.begin - rows.begin, common.size()),
                         world_rank(student_.layout, replica, student_.layout.pp - 1, t),
                         tag_of(micro_batch));
    }
}

void TeacherGrid::run(Context& ctx, std::span<const MicroBatch> mine, std::span<const int64_t> tokens_of) {
    expect(ctx, tokens_of);
    const auto all = static_cast<int64_t>(tokens_of.size());
    int64_t m = split_evenly(all, own_.layout.dp, own_.data.rank()).begin;
    for (const MicroBatch& batch : mine) {
        Tensor x = model::enter_stage(ctx, body_, own_, batch.tokens);
        x = body_.forward(ctx, std::move(x), batch.tokens);
        if (own_.last_stage()) {
            send(ctx.to_host(body_.final_norm(ctx, x)), m, batch.tokens.tokens(), all);
        } else {
            between_stages_.send(own_.pipeline, x, own_.stage() + 1, comm::activation_tag);
            between_stages_.drain(2);
        }
        ++m;
    }
    between_stages_.drain();
}

Tensor TeacherGrid::next_hidden(Context& ctx) {
    Expected e = std::move(expected_.front());
    expected_.pop_front();
    for (auto& message : e.messages) message.wait();
    to_student_.drain(64);
    return student_.tensor.all_gather(ctx, ctx.to_device(e.part), e.tokens);
}

}  // namespace espalier::train
