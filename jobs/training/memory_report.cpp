#include "jobs/training/memory_report.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "io/direct_writer.hpp"

namespace espalier::jobs {
namespace {

/// Collective. Every rank's value.
std::vector<double> of_all_ranks(const comm::Communicator& world, int64_t mine) {
    std::vector<double> out(static_cast<size_t>(world.size()), 0.0);
    out[static_cast<size_t>(world.rank())] = static_cast<double>(mine);
    world.all_reduce(out);
    return out;
}

size_t largest_of(const std::vector<double>& bytes) {
    return static_cast<size_t>(std::max_element(bytes.begin(), bytes.end()) - bytes.begin());
}

/// "2.15 GB", "96.3 MB".
std::string readable(double bytes) {
    return bytes < 1e9 ? fmt::format("{:.1f} MB", bytes / 1e6) : fmt::format("{:.2f} GB", bytes / 1e9);
}

train::StepShape step_shape(const Session& session, const TrainingOptions& o) {
    const auto& grid = session.topology();
    const int64_t all = div_ceil(o.global_batch, o.micro_batch);
    return {.pipeline = {grid.layout.pp, grid.stage(), session.common().virtual_stages},
            .micro_batches = split_evenly(all, grid.layout.dp, grid.data.rank()).size(),
            .sequences = o.micro_batch,
            .seq = o.seq_len,
            .dtype = session.dtype(),
            .recompute = model::recompute_from_string(o.recompute, "--recompute"),
            .device = session.context().device()};
}

}  // namespace

PredictedMemory predict_memory(Session& session, const TrainingOptions& o, model::Transformer& student,
                               const train::Optimizer& optimizer, const TeacherSide& teacher,
                               const StateSide* states, const Checkpoints& checkpoints) {
    const auto& a = student.architecture();
    const auto step = step_shape(session, o);
    const bool compares = distill::parse_loss_terms(o.loss, o.temperature, o.top_k).divergence.has_value();
    PredictedMemory m;
    m.weights = static_cast<int64_t>(student.parameters().flat().bytes());
    m.gradients = static_cast<int64_t>(student.gradients().bytes());
    m.optimizer = optimizer.state_bytes();
    m.activations = train::activation_bytes(a, student.placement(), step);
    if (!session.context().on_gpu() || !o.documents.reset_attention)
        m.activations += student.attention_scratch(session.context(), step.sequences, step.seq);
    if (session.topology().last_stage())
        m.head = train::head_bytes(a, student.placement().tensor, step, compares ? 2 : 1);
    m.teacher = teacher.memory(step);
    if (states) m.hidden_states = states->memory(step);
    if (session.context().on_gpu()) return m;
    if (o.checkpoint_every > 0 || o.exit_after_steps > 0 || o.exit_after_minutes > 0)
        m.checkpoint = io::DirectWriter::memory_bytes;
    if (o.checkpoint_every > 0) m.copies = checkpoints.copy_bytes();
    m.program = session.memory_at_start();
    return m;
}

int64_t most_memory(const Context& ctx) {
    return ctx.on_gpu() ? static_cast<int64_t>(ctx.pooled_bytes()) : peak_memory();
}

MemoryReport::MemoryReport(Session& session, const PredictedMemory& mine) : session_(session) {
    const auto parts = mine.parts();
    predicted_ = of_all_ranks(session.world(), std::accumulate(parts.begin(), parts.end(), int64_t{0}));
    const size_t largest = largest_of(predicted_);
    std::string words;
    for (size_t p = 0; p < parts.size(); ++p) {
        const double bytes = of_all_ranks(session.world(), parts[p])[largest];
        if (bytes == 0) continue;
        parts_[PredictedMemory::names[p]] = static_cast<int64_t>(bytes);
        words +=
            fmt::format("{}{} {}", words.empty() ? "" : ", ", PredictedMemory::names[p], readable(bytes));
    }
    copies_ = of_all_ranks(session.world(), mine.copies)[largest];
    if (copies_ > 0)
        words +=
            fmt::format("; up to {} more while a checkpoint's writing outlasts a step", readable(copies_));
    session.log().info("memory: about {} predicted on the largest rank ({})", readable(predicted_[largest]),
                       words);
}

void MemoryReport::finish() {
    const auto peaks = of_all_ranks(session_.world(), most_memory(session_.context()));
    const size_t largest = largest_of(peaks);
    session_.log().info("memory: {} at most on rank {}, the largest; {} predicted", readable(peaks[largest]),
                        largest, readable(predicted_[largest]));
    auto& out = session_.results;
    out["predicted_memory_bytes"] = static_cast<int64_t>(predicted_[largest_of(predicted_)]);
    out["memory"] = {{"parts", parts_},
                     {"checkpoint_copies", static_cast<int64_t>(copies_)},
                     {"predicted", std::vector<int64_t>(predicted_.begin(), predicted_.end())},
                     {"peak", std::vector<int64_t>(peaks.begin(), peaks.end())}};
}

}  // namespace espalier::jobs
