// prune: cut a model to a target shape, tensor by tensor, every rank its own rows.
#include <filesystem>
#include <optional>

#include "io/publish.hpp"
#include "io/temporary.hpp"
#include "jobs/data/tokens.hpp"
#include "jobs/job.hpp"
#include "jobs/pruning/check_cut.hpp"
#include "jobs/pruning/options.hpp"
#include "jobs/pruning/scores_file.hpp"
#include "jobs/session/output_lock.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

struct Chosen {
    prune::Kept kept;
    std::string scores_sha256;  ///< of the importance file; empty without
};

Chosen choose_kept(Session& session, ModelFile& source, const PruneOptions& o, const Options& given) {
    const auto& a = source.architecture();
    const auto target = target_of(o, given, a.depth());
    const auto vocabulary = vocabulary_of(o, given);
    ESPALIER_REQUIRE(target.cuts_width() || target.cuts_depth() || vocabulary.cuts(),
                     "nothing to cut: give a target, --hidden --heads --kv-heads --head-dim --ffn --layers "
                     "--drop-layers, --vocab or --vocab-ids");
    check_used(o, target);
    ESPALIER_REQUIRE(vocabulary.count || vocabulary.data.empty(),
                     "--vocab-data: its tokens are counted for --vocab N, which is not given; leave it out");
    Chosen out;
    std::optional<StoredScores> stored;
    if (!o.importance.empty()) stored = read_scores(session, o.importance, source, pair_of(o));
    if (stored) out.scores_sha256 = stored->sha256;
    const auto* first = stored ? &stored->scores : nullptr;
    IterativeOptions steps = o.iterative;
    steps.pair = pair_of(o);
    steps.site = prune::neuron_site_from_string(o.site, "--ffn-site");
    const bool scores_itself = steps.steps != 1 || !steps.calibration.data.empty();
    ESPALIER_REQUIRE(!stored || !scores_itself || stored->site == steps.site,
                     "--ffn-site {}: the neurons of {} were scored with {}, and those of later steps must be "
                     "scored alike; give --ffn-site {}",
                     o.site, o.importance, prune::to_string(stored->site), prune::to_string(stored->site));
    const auto& documents = o.iterative.calibration.documents;
    ESPALIER_REQUIRE(scores_itself || (!documents.reset_attention && documents.eod == -1),
                     "--reset-attention and --eod are for scoring by --data; scores in a file have had "
                     "theirs at `espalier importance`");
    ESPALIER_REQUIRE(scores_itself || o.iterative.calibration.split.empty(),
                     "--split {}: it is for scoring by --data, and there is none",
                     o.iterative.calibration.split);
    if (stored && steps.steps == 1 && !steps.calibration.data.empty())
        session.log().warning(
            "--data: a single cut takes its scores from {}; leave --importance out to score again, or give "
            "--iterations",
            o.importance);
    out.kept = scores_itself ? choose_in_steps(session, source, target, first, steps)
                             : prune::choose(a, first, target, o.model);
    if (vocabulary.cuts()) out.kept.vocab = choose_vocabulary(session, source, vocabulary);
    return out;
}

/// Reading all of the source and writing the result: what the job moves.
double bytes_moved(const ModelFile& source, const model::Architecture& result,
                   const std::vector<DType>& dtypes) {
    double bytes = 0;
    for (const auto& p : model::parameters(source.architecture()))
        bytes += static_cast<double>(p.size()) * static_cast<double>(size_of(source.stored_dtype(p)));
    size_t i = 0;
    for (const auto& p : model::parameters(result))
        bytes += static_cast<double>(p.size()) * static_cast<double>(size_of(dtypes.at(i++)));
    return bytes;
}

/// Throws where the cut model is not what is left of the source.
void check_result(Session& session, ModelFile& source, const Chosen& chosen, const PruneOptions& o,
                  const std::string& path) {
    const auto check = [&] {
        ModelFile cut(path, session.world().handle());
        return check_cut(session, source, chosen.kept, cut, o.check, o.check_tolerance);
    }();
    session.results["check_max_error"] = check.max_error;
    session.results["check_tolerance"] = check.tolerance;
    session.results["check_loss"] = check.loss;
    session.results["check_masked_loss"] = check.masked_loss;
    session.log().result("check: largest difference {:.2e} of the logits, loss {:.4f} against {:.4f}",
                         check.max_error, check.loss, check.masked_loss);
    if (check.passed()) return;
    throw InternalError(fmt::format(
        "--check: the cut model's logits differ from the masked model's by {:.2e} of their root mean square, "
        "more than {:.2e}; {} is not written",
        check.max_error, check.tolerance, o.out));
}

/// The name under which a cut is written: its own, or until --check has passed another beside it.
class CutPath {
public:
    CutPath(const Session& session, const PruneOptions& o) : out_(o.out), path_(o.out) {
        const std::string unchecked = o.out + ".unchecked";
        if (session.root()) std::filesystem::remove(unchecked);  // what a killed job left
        if (o.check.empty()) return;
        path_ = unchecked;
        if (session.root()) file_.emplace(path_);
    }

    const std::string& get() const { return path_; }
    /// Collective.
    void publish(const comm::Communicator& world) {
        if (file_) file_->publish_as(out_);
        world.barrier();
    }

private:
    std::string out_, path_;
    std::optional<io::Temporary> file_;  // of rank 0
};

/// Collective. The cut model at `path`, with its tokenizer and history; returns bytes a second.
double write_result(Session& session, ModelFile& source, const Chosen& chosen,
                    const model::Architecture& result, const std::string& path, io::Existing existing) {
    const auto& a = source.architecture();
    const auto dtypes = cut_dtypes(source, chosen.kept, result);
    const double begin = session.seconds();
    ModelWriter writer(path, session.world().handle(), result, dtypes, existing);
    Progress progress(session, "prune", static_cast<double>(model::parameter_count(result)), "weights");
    write_cut(session, source, chosen.kept, result, writer, [&](double done) { progress.show(done); });
    if (result.vocab < a.vocab) {
        write_cut_tokenizer(writer, source, chosen.kept.vocab);
    } else {
        writer.copy_tokenizer(source);
    }
    auto history = extend_history(source, session);
    if (result.hidden < a.hidden)  // for what maps states of the one model to the other
        history["jobs"].back()["kept_channels"] = chosen.kept.channels;
    if (!chosen.scores_sha256.empty()) history["jobs"].back()["importance_sha256"] = chosen.scores_sha256;
    writer.publish(history);
    return bytes_moved(source, result, dtypes) / (session.seconds() - begin);
}

}  // namespace

int prune(const std::vector<std::string>& arguments, comm::Mpi&) {
    PruneOptions o;
    const auto body = [&](Session& session, const Options& options) {
        const bool checks = !o.check.empty();
        const OutputLock lock(session, o.out);
        io::check_output(o.out, session.common().existing());
        CutPath path(session, o);
        ESPALIER_REQUIRE(o.check_tolerance >= 0, "--check-tolerance {}: it cannot be negative",
                         o.check_tolerance);
        ModelFile source(o.model, session.world().handle());
        const auto& a = source.architecture();
        if (checks) open_data(session.world(), {o.check}, a.vocab);  // found wrong now, not after the cut
        const auto chosen = choose_kept(session, source, o, options);
        const auto result = prune::shape(a, chosen.kept);
        const auto& layout = session.topology().layout;
        if (checks)
            model::check_layout(result, layout.tp, layout.pp, 1, "the cut model, which --check runs,");

        session.results["bytes_per_second"] =
            write_result(session, source, chosen, result, path.get(),
                         checks ? io::Existing::replace : session.common().existing());
        session.results["parameters"] = model::parameter_count(result);
        session.results["architecture"] = model::to_json(result);
        session.results["kept"] = to_json(chosen.kept, a);
        if (checks) {
            check_result(session, source, chosen, o, path.get());
            path.publish(session.world());
        }
        session.log().result("{}: {} of {} parameters", o.out, model::parameter_count(result),
                             model::parameter_count(a));
        return exit_code::done;
    };
    return run_job(
        "prune", arguments, [&](Options& options) { declare(o, options); }, body);
}

}  // namespace espalier::jobs
