#include "jobs/training/state_side.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include "kernels/elementwise.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {

distill::StateTerms state_terms(const TrainingOptions& o, const distill::LossTerms& loss) {
    if (o.hidden_map.empty()) {
        ESPALIER_REQUIRE(
            o.hidden_loss == "cosine" && o.hidden_weight == "auto",
            "--hidden-loss and --hidden-weight are for the states of a --hidden-map, and there is "
            "none");
        return {};
    }
    auto terms = distill::parse_state_terms(o.hidden_map, o.hidden_loss, o.hidden_weight);
    ESPALIER_REQUIRE(o.teacher_cache.empty(),
                     "--hidden-map needs the teacher's hidden states, which --teacher-cache does not hold; "
                     "give --teacher T.h5 instead");
    ESPALIER_REQUIRE(!o.teacher.empty(), "--hidden-map needs a teacher; give --teacher T.h5");
    ESPALIER_REQUIRE(
        terms.weight || (loss.divergence && loss.divergence_weight > 0),
        "--hidden-weight auto balances the hidden states against a divergence, and --loss {} has "
        "none that counts; choose a number, or a --loss with a divergence",
        o.loss);
    return terms;
}

std::optional<std::vector<int64_t>> kept_channels(const ModelFile& student, const ModelFile& teacher) {
    constexpr const char *key = "kept_channels", *input = "input_sha256";
    const auto jobs_of = [](const ModelFile& file) {
        return file.provenance().value("jobs", nlohmann::ordered_json::array());
    };
    // The teacher, and what it was before trainings that left its channels as they are.
    std::set<std::string> same_channels{teacher.sha256()};
    const auto taught = jobs_of(teacher);
    for (auto job = taught.rbegin(); job != taught.rend() && !job->contains(key); ++job) {
        if (job->contains(input)) same_channels.insert(job->at(input));
    }
    std::vector<int64_t> kept(static_cast<size_t>(student.architecture().hidden));
    std::iota(kept.begin(), kept.end(), 0);
    const auto all_below = [&](int64_t count) {
        return std::all_of(kept.begin(), kept.end(), [&](int64_t c) { return 0 <= c && c < count; });
    };
    // From cut to cut back to the teacher.
    const auto learned = jobs_of(student);
    for (auto job = learned.rbegin(); job != learned.rend(); ++job) {
        if (job->contains(key)) {
            const auto before = job->at(key).get<std::vector<int64_t>>();
            if (!all_below(std::ssize(before))) return std::nullopt;
            for (int64_t& channel : kept) channel = before[static_cast<size_t>(channel)];
        }
        if (same_channels.contains(job->value(input, "")))
            return all_below(teacher.architecture().hidden) ? std::optional(kept) : std::nullopt;
    }
    return std::nullopt;
}

StateSide::StateSide(Session& session, const TrainingOptions& o, distill::StateTerms terms,
                     const ModelFile& student_file, const model::Transformer& student, TeacherSide& teacher)
    : session_(session), student_(student), teacher_passes_here_(!teacher.brings_states()) {
    const auto &s = student_file.architecture(), &t = teacher.file()->architecture();
    if (s.hidden != t.hidden) {
        auto& ctx = session.context();
        learned_.reset(new Learned{{ctx, t.hidden, s.hidden, session.dtype()}, {}});
        initialise(learned_->projection, student_file, *teacher.file());
        learned_->optimizer.emplace(ctx, learned_->projection.parameters(), learned_->projection.gradients(),
                                    optimizer_options(o), session.world());
    }
    loss_ = std::make_unique<distill::StateLoss>(std::move(terms), student, session.topology(),
                                                 learned_ ? &learned_->projection : nullptr);
    if (!teacher_passes_here_)
        loss_->take_from([&teacher](Context& ctx, size_t pair) { return teacher.next_state(ctx, pair); });
}

void StateSide::initialise(distill::Projection& projection, const ModelFile& student,
                           const ModelFile& teacher) {
    const auto kept = kept_channels(student, teacher);
    if (kept) {
        projection.follow(session_.context(), *kept);
    } else {
        projection.scatter(session_.context(), static_cast<uint64_t>(session_.common().seed));
    }
    session_.log().info("hidden states are lifted from {} to {} channels, at first {}",
                        student.architecture().hidden, teacher.architecture().hidden,
                        kept ? "to those that the student was cut from" : "at random from --seed");
}

std::optional<Trained> StateSide::trained() {
    if (!learned_) return std::nullopt;
    const auto& weights = learned_->projection.parameters();
    return Trained{"hidden/", {weights.entries().front().parameter}, &weights, &*learned_->optimizer};
}

double StateSide::flops_per_token() const {
    const double pairs = static_cast<double>(loss_->terms().pairs.size());
    return learned_ ? 6 * pairs * static_cast<double>(learned_->projection.weight().size()) : 0.0;
}

int64_t StateSide::memory(const train::StepShape& step) const {
    const int64_t rows = comm::my_rows(student_.tensor(), step.tokens()).size();
    int64_t bytes = 0;
    for (int v = 0; v < step.pipeline.virtual_stages; ++v)
        bytes += train::most_in_flight(step, v) * loss_->kept_bytes(v, rows);
    if (teacher_passes_here_)
        bytes += model::most_taught_ahead(step.pipeline.stages) * loss_->teacher_bytes(rows);
    if (!learned_) return bytes;
    const auto& projection = learned_->projection;
    const int64_t lifted = 4 * rows * projection.weight().dim(0);
    return bytes + lifted + static_cast<int64_t>(projection.parameters().flat().bytes()) +
           static_cast<int64_t>(projection.gradients().bytes()) + learned_->optimizer->state_bytes();
}

void StateSide::begin_step(double token_weight) {
    loss_->begin_step(token_weight);
    if (learned_) fill(session_.context(), 0.0f, learned_->projection.gradients());
}

double StateSide::synchronise_gradient() {
    if (!learned_) return 0;
    const Timed timed = session_.context().computing();
    const auto& shards = learned_->optimizer->shards();
    Tensor& gradients = learned_->projection.gradients();
    session_.world().reduce_scatter(session_.context(), gradients, shards.bounds);
    double sum = square_sum(session_.context(), gradients, learned_->optimizer->owned());
    session_.world().all_reduce({&sum, 1});
    return sum;
}

void StateSide::update(int64_t step, double learning_rate, double gradient_scale) {
    if (learned_) learned_->optimizer->step(session_.context(), step, learning_rate, gradient_scale);
}

}  // namespace espalier::jobs
