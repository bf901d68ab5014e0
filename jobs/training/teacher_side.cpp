#include "jobs/training/teacher_side.hpp"

#include <algorithm>
#include <cmath>

#include "jobs/files/tokenizer_files.hpp"
#include "jobs/training/trained_model.hpp"
#include "kernels/elementwise.hpp"
#include "src/core/error.hpp"
#include "src/distill/state_loss.hpp"
#include "src/train/schedule.hpp"

namespace espalier::jobs {
namespace {

/// How the teacher of a student with fewer tokens gets the same.
std::string same_vocabulary(const ModelFile& student, const std::string& teacher) {
    const auto jobs = student.provenance().value("jobs", nlohmann::ordered_json::array());
    const bool cut = std::any_of(jobs.begin(), jobs.end(), [](const nlohmann::ordered_json& job) {
        const auto options = job.value("options", nlohmann::ordered_json::object());
        return options.contains("vocab") || !options.value("vocab-ids", "").empty();
    });
    if (!cut)
        return fmt::format(
            "\n  if its further tokens are padding, cut them: `prune --model {} --vocab-ids FILE --out "
            "TV.h5`, "
            "where FILE holds 0 to {}",
            teacher, student.architecture().vocab - 1);
    return fmt::format(
        "\n  {} lost tokens to `prune`; take the same from its teacher: prune --model {} --vocab-ids FILE "
        "--out TV.h5, the ids of FILE being kept.vocab in the summary of that prune, whose options `inspect "
        "{}` shows",
        student.path(), teacher, student.path());
}

}  // namespace

TeacherSide::TeacherSide(Session& session, const TrainingOptions& o, const ModelFile& student,
                         int64_t samples, const data::DocumentMasks& masks)
    : session_(session), o_(o), student_(student.architecture()) {
    if (!o.teacher.empty()) file_ = std::make_unique<ModelFile>(o.teacher, session.world().handle());
    if (!o.teacher_cache.empty()) {
        cache_ = std::make_unique<TeacherCache>(
            session, o.teacher_cache,
            TeacherCacheKey{file_ ? file_->sha256() : "",
                            data_fingerprint(session.world(), o.data, data::Split(o.split)),
                            student.architecture().vocab, o.seq_len, samples, session.common().seed, o.top_k,
                            o.temperature, masks.attention ? masks.eod : -1, text_ids_hash(student)});
    }
    check(student);
}

void TeacherSide::check(const ModelFile& student) const {
    ESPALIER_REQUIRE(
        !cache_ || (o_.teacher_tp == 0 && o_.teacher_pp == 0),
        "--teacher-tp and --teacher-pp place a teacher that runs; with --teacher-cache none does");
    const bool elsewhere = (o_.teacher_tp > 0 && o_.teacher_tp != session_.topology().layout.tp) ||
                           (o_.teacher_pp > 0 && o_.teacher_pp != session_.topology().layout.pp);
    ESPALIER_REQUIRE(
        !o_.correct_teacher || (file_ && !cache_ && !elsewhere),
        "--correct-teacher trains the teacher on the student's grid; give --teacher T.h5 without "
        "--teacher-cache, --teacher-tp and --teacher-pp");
    ESPALIER_REQUIRE(o_.top_k < student_.vocab,
                     "--top-k {}: the models have {} tokens; choose --top-k < {}, or 0 for all", o_.top_k,
                     student_.vocab, student_.vocab);
    if (!file_) {
        ESPALIER_REQUIRE(o_.teacher_tp == 0 && o_.teacher_pp == 0,
                         "--teacher-tp and --teacher-pp need a teacher; give --teacher T.h5");
        return;
    }
    const auto& t = file_->architecture();
    ESPALIER_REQUIRE(t.vocab == student_.vocab,
                     "teacher and student differ in vocabulary: {} has {} tokens, {} has {}; "
                     "distillation compares distributions over the same tokens{}",
                     o_.teacher, t.vocab, o_.student, student_.vocab,
                     student_.vocab < t.vocab ? same_vocabulary(student, o_.teacher) : "");
    const std::string taught = text_ids_hash(*file_), learned = text_ids_hash(student);
    ESPALIER_REQUIRE(taught.empty() || learned.empty() || taught == learned,
                     "teacher and student differ in tokenizer: {} and {} give other ids to the same tokens; "
                     "distillation compares distributions over the same tokens",
                     o_.teacher, o_.student);
    check_seq_len(o_.seq_len, *file_);
}

void TeacherSide::load(const distill::LossTerms& terms, const distill::StateTerms& states) {
    ESPALIER_REQUIRE(!terms.divergence || file_ || cache_,
                     "--loss {}: a divergence needs a teacher; use `espalier distill --teacher T.h5`",
                     o_.loss);
    const bool asked = terms.divergence || !states.pairs.empty();
    ESPALIER_REQUIRE(asked || (!o_.correct_teacher && o_.teacher_tp == 0 && o_.teacher_pp == 0),
                     "--loss {}: nothing asks the teacher, so that --correct-teacher, --teacher-tp and "
                     "--teacher-pp would do nothing; leave them out, or choose a --loss with a divergence",
                     o_.loss);
    if (cache_ || !asked) return;
    const auto& student = session_.topology();
    const int tp = o_.teacher_tp > 0 ? o_.teacher_tp : student.layout.tp,
              pp = o_.teacher_pp > 0 ? o_.teacher_pp : student.layout.pp;
    const int virtual_stages = session_.common().virtual_stages;
    const bool elsewhere = tp != student.layout.tp || pp != student.layout.pp;
    check_layout(tp, pp, elsewhere ? 1 : virtual_stages);
    const bool meet = distill::meet_in_pipeline(states, file_->architecture(), student_, pp, virtual_stages);
    if (elsewhere || (!meet && !o_.correct_teacher)) {
        if (!elsewhere)
            session_.log().info(
                "--hidden-map {}: the teacher's states are made in other stages than the student's, so that "
                "the teacher runs before the student in each step",
                o_.hidden_map);
        if (virtual_stages > 1)
            session_.log().info(
                "--virtual-stages {}: of the student alone; a teacher that runs before it has none",
                virtual_stages);
        load_elsewhere(tp, pp, states);
        return;
    }
    model_ = load_transformer(session_, *file_,
                              o_.correct_teacher ? model::Gradients::keep : model::Gradients::none,
                              virtual_stages);
    if (!o_.correct_teacher) return;
    correction_ = std::make_unique<Correction>(session_, o_, *model_, routes(states));
    read_master(session_, *file_, *model_, correction_->optimizer);
}

void TeacherSide::check_layout(int tp, int pp, int virtual_stages) const {
    const model::LayoutOptions own{o_.teacher_tp > 0 ? "--teacher-tp" : "--tp",
                                   o_.teacher_pp > 0 ? "--teacher-pp" : "--pp"};
    model::check_layout(file_->architecture(), tp, pp, virtual_stages, o_.teacher, own);
    const int64_t ranks = session_.world().size(), replica_ranks = int64_t{tp} * pp;
    ESPALIER_REQUIRE(ranks % replica_ranks == 0,
                     "{} ranks cannot form replicas of a teacher of {} {} x {} {}; start a multiple of {} "
                     "ranks, or change {} and {}",
                     ranks, own.tp, tp, own.pp, pp, replica_ranks, own.tp, own.pp);
}

TeacherSide::Correction::Correction(Session& session, const TrainingOptions& o, model::Transformer& teacher,
                                    const std::vector<train::StateRoute>& routes)
    : objective(distill::parse_loss_terms("ce", 1)),
      optimizer(session.context(), teacher, optimizer_options(o), session.topology().data),
      reducer(teacher, session.topology(), optimizer.shards()),
      exchange(session.topology(), session.topology(),
               train::stages_of(routes, teacher.architecture(), session.topology().layout.pp,
                                session.common().virtual_stages)),
      recorder(teacher, routes, exchange),
      pipeline(session.topology(), teacher, nullptr, model::recompute_from_string(o.recompute, "--recompute"),
               routes.empty() ? nullptr : &recorder) {}

std::vector<train::StateRoute> TeacherSide::routes(const distill::StateTerms& states) const {
    std::vector<train::StateRoute> out;
    for (const auto& pair : states.pairs) {
        const auto to = model::place_of_state(student_, session_.topology().layout.pp,
                                              session_.common().virtual_stages, pair.student);
        out.push_back({pair.teacher, to.stage});
    }
    return out;
}

std::vector<int64_t> TeacherSide::tokens_of_step() const {
    std::vector<int64_t> out;
    for (int64_t first = 0; first < o_.global_batch; first += o_.micro_batch)
        out.push_back(std::min(o_.micro_batch, o_.global_batch - first) * o_.seq_len);
    return out;
}

/// The body on a grid of its own, the head with the student's.
void TeacherSide::load_elsewhere(int tp, int pp, const distill::StateTerms& states) {
    const auto& a = file_->architecture();
    const auto& student = session_.topology();
    own_ = std::make_unique<comm::Topology>(comm::make_topology(tp, pp));
    comm::attach(*own_, session_.context(), comm::Traffic::forward);
    const auto make = [&](const model::Placement& placement, const comm::Communicator& tensor) {
        return std::make_unique<model::Transformer>(session_.context(), a, placement, tensor,
                                                    session_.dtype(), model::Gradients::none);
    };
    const auto body = model::partition(a, {tp, own_->tensor.rank()}, {pp, own_->stage(), 1});
    model_ = make(model::without_head(body), own_->tensor);
    head_ = make(model::head_alone({student.layout.tp, student.tensor.rank()},
                                   student.last_stage() ? model::Head::here : model::Head::elsewhere),
                 student.tensor);
    read_parameters(*file_, {{model_.get(), own_->data.rank() == 0}, {head_.get(), student.data.rank() == 0}},
                    session_.context());
    grid_ = std::make_unique<train::TeacherGrid>(student, *own_, *model_, routes(states));
}

std::string TeacherSide::sha256() const {
    if (file_) return file_->sha256();
    return cache_ ? cache_->key().teacher_sha256 : "";
}

std::optional<Trained> TeacherSide::trained() const {
    if (!correction_) return std::nullopt;
    return jobs::trained("teacher/", *model_, correction_->optimizer);
}

double TeacherSide::forward_flops_per_token(int64_t seq_len) const {
    const double forward = model_ ? model::forward_flops_per_token(model_->architecture(), seq_len) : 0.0;
    return correction_ ? 3 * forward : forward;
}

int64_t TeacherSide::memory(const train::StepShape& step) const {
    if (!model_) return 0;
    const auto& a = model_->architecture();
    const bool last = session_.topology().last_stage();
    auto bytes = static_cast<int64_t>(model_->parameters().flat().bytes());
    if (correction_) {
        bytes += static_cast<int64_t>(model_->gradients().bytes()) + correction_->optimizer.state_bytes() +
                 train::activation_bytes(a, model_->placement(), step);
        if (!session_.context().on_gpu())
            bytes += correction_->exchange.step_bytes(tokens_of_step(), a.hidden, model_->dtype());
        const int64_t hidden = step.micro_batches * step.tokens() * a.hidden;
        return last ? bytes + hidden * static_cast<int64_t>(size_of(step.dtype)) : bytes;
    }
    if (head_) bytes += static_cast<int64_t>(head_->parameters().flat().bytes());
    // On a grid of its own it has said all of a step before the student begins, which waits on the host.
    if (grid_ && !session_.context().on_gpu()) bytes += grid_->step_bytes(tokens_of_step());
    // On a device it keeps step with the student, messages too.
    if (!grid_ && session_.context().on_gpu())
        bytes += train::message_bytes(a, model_->placement().tensor, step);
    const int64_t waiting = grid_ ? 1 : model::most_taught_ahead(step.pipeline.stages);
    return bytes + train::teacher_pass_bytes(a, model_->placement(), step, last ? waiting : 0);
}

std::vector<const comm::Topology*> TeacherSide::grids() const {
    std::vector<const comm::Topology*> out{&session_.topology()};
    if (own_) out.push_back(own_.get());
    return out;
}

void TeacherSide::begin_step(Context& ctx, const ReadMicroBatches& read, double tokens) {
    const auto tokens_of = tokens_of_step();
    if (grid_) grid_->run(ctx, read(*own_), tokens_of);
    if (!correction_) return;
    auto& c = *correction_;
    c.objective.reset();
    {
        const Timed timed = ctx.computing();
        fill(ctx, 0.0f, model_->gradients());
    }
    const auto& grid = session_.topology();
    c.exchange.begin_step(ctx, tokens_of, model_->architecture().hidden, model_->dtype());
    c.recorder.begin_step(split_evenly(std::ssize(tokens_of), grid.layout.dp, grid.data.rank()).begin);
    const auto batches = read(grid);
    c.pipeline.step(
        ctx, batches, {},
        [&](const train::MicroBatch& batch, const Tensor& hidden, const Tensor&) {
            c.hidden.push_back(hidden);
            return c.objective.backward(ctx, *model_, hidden, {}, batch.labels, 1.0 / tokens);
        },
        &c.reducer);
    if (ctx.on_gpu()) c.exchange.end_step();
    c.reducer.begin_rest(ctx);  // the student's sums come next
}

double TeacherSide::gradient_norm(Context& ctx) {
    if (!correction_) return 0;
    correction_->reducer.finish(ctx);
    return train::gradient_norm(ctx, model_->gradients(), correction_->optimizer.owned(),
                                session_.topology());
}

void TeacherSide::update(Context& ctx, int64_t updates, double share, double norm) {
    if (!correction_) return;
    const double peak = o_.teacher_lr > 0 ? o_.teacher_lr : o_.lr / 5;
    correction_->optimizer.step(ctx, updates, share * peak, train::clipping(norm, o_.clip_grad));
}

bool TeacherSide::is_finite() const {
    return !correction_ || are_finite(session_, *model_, correction_->optimizer);
}

void TeacherSide::write_model(const std::string& path) {
    if (!correction_) return;
    write_trained(session_, path, *file_, *model_, correction_->optimizer, extend_history(*file_, session_));
}

distill::Teacher TeacherSide::of(Context& ctx, const model::Transformer& student, int64_t first_sample,
                                 const Tensor& hidden) {
    if (cache_) return cache_->of(first_sample, student.vocabulary());
    if (grid_) return distill::live_teacher(*head_, grid_->next_hidden(ctx));
    if (correction_) {
        Tensor own = std::move(correction_->hidden.front());
        correction_->hidden.pop_front();
        return distill::live_teacher(*model_, own);
    }
    if (model_) return distill::live_teacher(*model_, hidden);
    return {};
}

}  // namespace espalier::jobs
