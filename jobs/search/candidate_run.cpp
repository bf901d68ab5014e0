#include "jobs/search/candidate_run.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>

#include "io/publish.hpp"
#include "jobs/data/tokens.hpp"
#include "jobs/job.hpp"
#include "jobs/search/results.hpp"
#include "jobs/training/checkpoint_folder.hpp"
#include "jobs/training/run_log.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;

constexpr int64_t held_out_samples = 32;

std::string text(double value) {
    return fmt::format("{}", value);  // as many digits as bring the value back
}

void add_documents(const DocumentOptions& o, std::vector<std::string>& arguments) {
    if (o.reset_attention) arguments.emplace_back("--reset-attention");
    if (o.mask_eod) arguments.emplace_back("--mask-eod");
    if (o.eod != -1) arguments.insert(arguments.end(), {"--eod", std::to_string(o.eod)});
}

/// The last tokens of a token file as a token file of their own.
void write_tail(const std::string& from, int64_t vocab, int64_t tokens, const std::string& to) {
    io::IndexedDatasetWriter writer(to, vocab, io::Existing::replace);
    writer.add(read_tokens(from, vocab, End::last, tokens));
    writer.finish();
}

}  // namespace

CandidateRun::CandidateRun(Session& session, comm::Mpi& mpi, const SearchOptions& o,
                           const model::Architecture& source, const search::ModelShape& shape,
                           std::string folder)
    : session_(session), mpi_(mpi), o_(o), source_(source), shape_(shape), folder_(std::move(folder)) {
    if (session_.root()) io::make_folder(folder_);
    session_.world().barrier();
}

/// Rank 0's view counts: ranks on other nodes may see a file later.
bool CandidateRun::exists(const char* name) const {
    return session_.world().any(session_.root() && fs::exists(path(name)));
}

const std::string& CandidateRun::student() {
    if (!student_.empty()) return student_;
    const auto whole = search::with_shape(source_, shape_);
    if (whole == source_) return student_ = o_.model;
    student_ = path("cut.h5");
    if (exists("cut.h5")) return student_;
    std::vector<std::string> arguments{"--model",         o_.model,    "--importance",      o_.importance,
                                       "--out",           student_,    "--batch-aggregate", o_.batch,
                                       "--seq-aggregate", o_.sequence, "--depth-by",        o_.depth_by,
                                       "--head-residual", o_.residual};
    const auto add = [&](const char* option, int64_t value, bool cut) {
        if (cut) arguments.insert(arguments.end(), {option, std::to_string(value)});
    };
    const auto& l = source_.layers.front();
    const bool mixed = !source_.uniform();
    add("--layers", shape_.layers, shape_.layers != source_.depth());
    add("--hidden", shape_.hidden, shape_.hidden != source_.hidden);
    // A residual wants to be told of heads, also where all of them stay.
    add("--heads", shape_.heads, mixed || shape_.heads != l.query_heads || o_.residual != "off");
    add("--kv-heads", shape_.kv_heads, mixed || shape_.kv_heads != l.kv_heads);
    add("--ffn", shape_.ffn, mixed || shape_.ffn != l.ffn);
    call_job(session_, mpi_, "prune", arguments, path("summary.json"));
    return student_;
}

const std::string& CandidateRun::held_out() {
    if (!held_out_.empty()) return held_out_;
    const auto& t = o_.training;
    if (!t.valid.empty()) return held_out_ = t.valid;
    held_out_ = path("valid");
    const auto& prefix = t.data.size() == 1 ? t.data[0] : t.data[1];
    if (session_.root()) write_tail(prefix, source_.vocab, held_out_samples * t.seq_len + 1, held_out_);
    session_.world().barrier();
    return held_out_;
}

double CandidateRun::loss_after_cut() {
    return loss_of(student());
}

double CandidateRun::loss_of(const std::string& model) {
    const auto& t = o_.training;
    std::vector<std::string> arguments{"--model",       model,
                                       "--data",        held_out(),
                                       "--seq-len",     std::to_string(t.seq_len),
                                       "--micro-batch", std::to_string(t.micro_batch)};
    add_documents(t.documents, arguments);
    const auto result = call_job(session_, mpi_, "evaluate", std::move(arguments), path("summary.json"));
    return as_loss(result.summary.at("loss"));
}

std::optional<double> CandidateRun::train_to(int64_t step) {
    if (const auto loss = loss_on_record(step)) return loss;
    // Of a run that has ended a disk may have refused the line.
    if (exists("run/model.h5")) return loss_of(path("run/model.h5"));
    const auto& t = o_.training;
    std::vector<std::string> arguments{"--teacher",   t.teacher.empty() ? o_.model : t.teacher,
                                       "--student",   student(),
                                       "--out",       path("run"),
                                       "--valid",     held_out(),
                                       "--loss",      t.loss,
                                       "--recompute", t.recompute};
    const auto add = [&](const char* option, const std::string& value) {
        arguments.insert(arguments.end(), {option, value});
    };
    add("--tokens", std::to_string(t.tokens));
    add("--seq-len", std::to_string(t.seq_len));
    add("--global-batch", std::to_string(t.global_batch));
    add("--micro-batch", std::to_string(t.micro_batch));
    add("--lr", text(t.lr));
    add("--min-lr", text(t.min_lr));
    add("--warmup-steps", std::to_string(t.warmup_steps));
    add("--weight-decay", text(t.weight_decay));
    add("--clip-grad", text(t.clip_grad));
    add("--temperature", text(t.temperature));
    add("--top-k", std::to_string(t.top_k));
    add("--checkpoint-every", std::to_string(t.checkpoint_every));
    add("--keep", "1");
    add("--valid-every", std::to_string(t.valid_every > 0 ? t.valid_every : step));
    add("--exit-after-steps", std::to_string(step));
    if (t.exit_after_minutes > 0) {
        const double left = t.exit_after_minutes - session_.seconds() / 60;
        add("--exit-after-minutes", text(std::max(left, std::numeric_limits<double>::min())));
    }
    add_documents(t.documents, arguments);
    arguments.emplace_back("--data");
    arguments.insert(arguments.end(), t.data.begin(), t.data.end());
    const auto result = call_job(session_, mpi_, "distill", arguments, path("summary.json"));
    // Of a run that diverged: the worst of all candidates, not the end of them.
    if (result.exit_code == exit_code::bad_input) return std::numeric_limits<double>::quiet_NaN();
    return loss_on_record(step);
}

/// A step counts as done when a checkpoint is there that a later start goes on from, and the last one when
/// the finished model is.
bool CandidateRun::is_whole(int64_t step) const {
    if (fs::exists(path("run/model.h5"))) return true;
    const auto& t = o_.training;
    if (step >= div_ceil(t.tokens, t.global_batch * t.seq_len)) return false;
    const auto found = list_checkpoints(path("run"));
    return !found.empty() && found.front().step >= step;
}

std::optional<double> CandidateRun::loss_on_record(int64_t step) const {
    std::string line;
    if (session_.root() && is_whole(step)) {
        const auto metrics = metrics_of_step(path("run"), step);
        if (metrics.contains("valid_loss")) line = metrics["valid_loss"].dump();
    }
    line = session_.world().broadcast(std::move(line));
    if (line.empty()) return std::nullopt;
    return as_loss(nlohmann::json::parse(line));
}

void CandidateRun::drop_state() {
    if (session_.root()) {
        for (const char* name : {"cut.h5", "valid.bin", "valid.idx", "run/latest", "run/checkpoints"})
            fs::remove_all(path(name));
    }
    session_.world().barrier();
}

}  // namespace espalier::jobs
