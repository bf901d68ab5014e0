#include "src/train/state_exchange.hpp"

#include <algorithm>

namespace espalier::train {
namespace {

int world_rank(const comm::GridShape& grid, int replica, int stage, int tensor) {
    return (replica * grid.pp + stage) * grid.tp + tensor;
}

int replica_of(int64_t micro_batch, int64_t of_all, int replicas) {
    int r = 0;
    while (!split_evenly(of_all, replicas, r).contains(micro_batch)) ++r;
    return r;
}

int tag_of(size_t route) {
    return narrow<int>(route);
}

}  // namespace

StateExchange::StateExchange(const comm::Topology& student, const comm::Topology& teacher,
                             std::vector<StageRoute> routes)
    : student_(student), teacher_(teacher), routes_(std::move(routes)), expected_(routes_.size()) {}

void StateExchange::begin_step(Context& ctx, std::span<const int64_t> tokens_of, int64_t width, DType dtype) {
    outbox_.drain();
    tokens_of_.assign(tokens_of.begin(), tokens_of.end());
    const Range mine = split_evenly(count(), student_.layout.dp, student_.data.rank());
    for (int64_t m = mine.begin; m < mine.end; ++m) {
        const int64_t tokens = tokens_of_[m];
        const Range rows = comm::my_rows(student_.tensor, tokens);
        const int replica = replica_of(m, count(), teacher_.layout.dp);
        for (size_t r = 0; r < routes_.size(); ++r) {
            if (routes_[r].student_stage != student_.stage()) continue;
            Expected& e = expected_[r].emplace_back();
            e.tokens = tokens;
            e.part = ctx.empty_on_host({rows.size(), width}, dtype);
            for (int t = 0; t < teacher_.layout.tp; ++t) {
                const Range common = intersection(rows, split_evenly(tokens, teacher_.layout.tp, t));
                if (common.size() == 0) continue;
                Tensor into = e.part.rows(common.begin - rows.begin, common.size());
                e.messages.push_back(student_.world.receive(
                    into, world_rank(teacher_.layout, replica, routes_[r].teacher_stage, t), tag_of(r)));
            }
        }
    }
}

int64_t StateExchange::step_bytes(std::span<const int64_t> tokens_of, int64_t width, DType dtype) const {
    int64_t rows = 0;
    const auto count_rows = [&](const comm::Topology& grid, int StageRoute::*stage) {
        const auto here = std::count_if(routes_.begin(), routes_.end(),
                                        [&](const StageRoute& r) { return r.*stage == grid.stage(); });
        const Range mine = split_evenly(std::ssize(tokens_of), grid.layout.dp, grid.data.rank());
        for (int64_t m = mine.begin; m < mine.end; ++m)
            rows += here * comm::my_rows(grid.tensor, tokens_of[static_cast<size_t>(m)]).size();
    };
    count_rows(student_, &StageRoute::student_stage);
    count_rows(teacher_, &StageRoute::teacher_stage);
    return rows * width * static_cast<int64_t>(size_of(dtype));
}

void StateExchange::send(Context& ctx, size_t route, int64_t m, const Tensor& x) {
    const Tensor host = ctx.to_host(x);
    const int64_t tokens = tokens_of_.at(static_cast<size_t>(m));
    const Range rows = comm::my_rows(teacher_.tensor, tokens);
    const int replica = replica_of(m, count(), student_.layout.dp);
    for (int t = 0; t < student_.layout.tp; ++t) {
        const Range common = intersection(rows, split_evenly(tokens, student_.layout.tp, t));
        if (common.size() == 0) continue;
        outbox_.send(student_.world, host.rows(common.begin - rows.begin, common.size()),
                     world_rank(student_.layout, replica, routes_[route].student_stage, t), tag_of(route));
    }
}

StateExchange::Expected StateExchange::take(size_t route) {
    Expected e = std::move(expected_[route].front());
    expected_[route].pop_front();
    for (auto& message : e.messages) message.wait();
    return e;
}

Tensor StateExchange::next(Context& ctx, size_t route) {
    return ctx.to_device(take(route).part);
}

Tensor StateExchange::next_gathered(Context& ctx, size_t route) {
    const Expected e = take(route);
    return student_.tensor.all_gather(ctx, ctx.to_device(e.part), e.tokens);
}

}  // namespace espalier::train
