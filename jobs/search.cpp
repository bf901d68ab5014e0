// search: enumerate shapes under a budget; cut, measure and distil each; rank them.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "io/journal.hpp"
#include "io/publish.hpp"
#include "io/sha256.hpp"
#include "jobs/data/tokens.hpp"
#include "jobs/files/candidates_file.hpp"
#include "jobs/files/json_file.hpp"
#include "jobs/job.hpp"
#include "jobs/search/candidate_run.hpp"
#include "jobs/search/results.hpp"
#include "jobs/session/output_lock.hpp"
#include "jobs/session/progress.hpp"
#include "jobs/session/standard_output.hpp"
#include "jobs/session/stop.hpp"
#include "src/core/error.hpp"
#include "src/distill/loss_terms.hpp"
#include "src/prune/aggregate.hpp"
#include "src/prune/depth.hpp"
#include "src/prune/heads.hpp"
#include "src/prune/kept.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

/// What all jobs of one search have in common: options but for layout, limits and places.
ordered_json settings(const Session& session, const SearchOptions& o, const ModelFile* model) {
    ordered_json out =
        without_placement(session.options(), {"candidate", "exit-after-minutes", "checkpoint-every",
                                              "micro-batch", "recompute", "model", "importance", "dtype"});
    if (model) out["model_sha256"] = model->sha256();
    if (!o.measures()) return out;
    out["dtype"] = to_string(session.dtype());
    out["importance_sha256"] = io::sha256_of_file(o.importance);
    return out;
}

class Search {
public:
    Search(Session& session, comm::Mpi& mpi, const SearchOptions& o, const model::Architecture& source,
           std::vector<search::Candidate> candidates)
        : session_(session),
          mpi_(mpi),
          o_(o),
          source_(source),
          candidates_(std::move(candidates)),
          folder_(o.training.out + ".runs"),
          results_(session, folder_ + "/results.jsonl") {
        const auto& t = o.training;
        if (o.retrains()) {
            const int64_t steps = div_ceil(t.tokens, t.global_batch * t.seq_len);
            rungs_ =
                search::rungs(std::ssize(candidates_), steps, std::max<int64_t>(1, t.valid_every), o.rungs);
        }
    }

    /// Makes the folder, or goes on in it when it is of the same search.
    void open(const ordered_json& settings) {
        if (session_.root()) {
            if (session_.common().force) {
                const auto busy = busy_candidate();
                ESPALIER_REQUIRE(
                    busy.empty(),
                    "{}: another job is at work on it, whose files --force would remove; wait for its "
                    "end, or choose another --out",
                    busy);
                fs::remove_all(folder_);
            }
            io::make_folder(folder_);
            fs::remove(folder_ + "/stop");  // of the stop that this start ends
            const std::string path = folder_ + "/settings.json";
            io::append_line(path, settings.dump(), [](const std::string&) { return true; });
            const auto there = ordered_json::parse(io::read_lines(path).at(0), nullptr, false);
            for (const auto& [key, value] : settings.items())
                ESPALIER_REQUIRE(there.is_object() && there.contains(key) && there[key] == value,
                                 "{}: holds a search with another --{}; go on with the same options, choose "
                                 "another --out, or start over with --force",
                                 folder_, key);
        }
        session_.world().barrier();
    }

    /// Everything that this job is to do; whether nothing is left for anybody.
    bool run() {
        std::vector<int64_t> entrants;
        for (int64_t k = 0; k < std::ssize(candidates_); ++k) entrants.push_back(k);
        for (const int64_t k : entrants) {
            if (!measure(k, 0)) return false;
        }
        for (const int64_t step : rungs_) {
            for (const int64_t k : entrants) {
                if (!measure(k, step)) return false;
            }
            const auto better = search::survivors(entrants, results_.read()[step]);
            if (!better) return false;
            if (o_.candidate < 0) drop_others(entrants, *better);
            entrants = *better;
        }
        return results_.read()[0].size() == candidates_.size();
    }

    /// Whether this run ended because somebody wished it, or because others are at work on what is left.
    bool stopped() const { return stopped_; }
    const std::vector<int64_t>& busy() const { return busy_; }

    /// All that is known, the best candidate first; candidates not measured yet are left out.
    ordered_json ranked() const {
        const auto by_steps = results_.read();
        auto out = ordered_json::array();
        for (const int64_t k : search::ranking(by_steps)) {
            ordered_json entry = to_json(candidates_.at(static_cast<size_t>(k)), k);
            for (const auto& [step, losses] : by_steps) {
                if (!losses.contains(k)) continue;
                entry["loss"] = losses.at(k);
                if (step == 0) entry["loss_after_cut"] = losses.at(k);
                entry["steps"] = step;
                entry["tokens"] = step * o_.training.global_batch * o_.training.seq_len;
                if (step > 0) entry["losses"][std::to_string(step)] = losses.at(k);
            }
            out.push_back(std::move(entry));
        }
        return out;
    }

    /// Removes the candidates' state. The records stay, of which the same command writes the list, and so do
    /// models that were trained to the end.
    void drop_states() {
        std::vector<int64_t> all;
        for (int64_t k = 0; k < std::ssize(candidates_); ++k) all.push_back(k);
        drop_others(all, {});
    }
    /// Once the list is there: what is left of a search that trained no models.
    void remove_records() const {
        if (session_.root() && !o_.retrains()) fs::remove_all(folder_);
    }
    /// After bad input, where nothing was measured yet: what this job made, or all where no other is at work.
    void remove_if_empty() const {
        if (!session_.root() || !io::read_lines(folder_ + "/results.jsonl").empty()) return;
        if (o_.candidate >= 0) fs::remove_all(folder_of(o_.candidate));
        if (busy_candidate().empty() && (o_.candidate < 0 || !has_candidates())) fs::remove_all(folder_);
    }

    const std::vector<int64_t>& rungs() const { return rungs_; }

private:
    std::string folder_of(int64_t k) const { return fmt::format("{}/candidate-{}", folder_, k); }
    /// The folder of a candidate that another job has locked, if there is one.
    std::string busy_candidate() const {
        for (int64_t k = 0; k < std::ssize(candidates_); ++k) {
            const std::string lock = folder_of(k) + "/lock";
            if (fs::exists(lock) && !io::try_lock(lock)) return folder_of(k);
        }
        return {};
    }
    bool has_candidates() const {
        for (int64_t k = 0; k < std::ssize(candidates_); ++k) {
            if (fs::exists(folder_of(k))) return true;
        }
        return false;
    }
    CandidateRun candidate(int64_t k) {
        return {session_, mpi_, o_, source_, candidates_.at(static_cast<size_t>(k)).shape, folder_of(k)};
    }

    /// Held by rank 0; nothing on the others.
    std::optional<io::Descriptor> lock_folder(int64_t k) const {
        if (!session_.root()) return std::nullopt;
        io::make_folder(folder_of(k));
        return io::try_lock(folder_of(k) + "/lock");
    }

    /// One piece of work, unless it is done or another job's; false when this job is to end here.
    bool measure(int64_t k, int64_t step) {
        if (o_.candidate >= 0 && k != o_.candidate) return true;
        const auto known = [&] {
            const auto by_steps = results_.read();
            return by_steps.contains(step) && by_steps.at(step).contains(k);
        };
        if (known()) return true;
        const auto lock = lock_folder(k);
        if (!session_.world().any(lock.has_value())) {
            busy_.push_back(k);
            return true;
        }
        if (known()) return true;  // by whoever held the lock
        auto run = candidate(k);
        const auto loss = step == 0 ? std::optional(run.loss_after_cut()) : run.train_to(step);
        if (loss) {
            results_.add(k, step, *loss);
            report(k, step, *loss);
        }
        if (step == 0 && !o_.retrains()) run.drop_state();
        const bool wish =
            stop_.wanted(session_, {o_.training.exit_after_minutes, 0, folder_ + "/stop"}, step);
        stopped_ = session_.world().any(wish || !loss);
        return !stopped_;
    }

    void report(int64_t k, int64_t step, double loss) const {
        session_.log().info("candidate {:3} ({}): loss {:.4f} {}", k,
                            to_string(candidates_.at(static_cast<size_t>(k)).shape), loss,
                            step == 0 ? "after the cut" : fmt::format("after {} steps", step));
    }

    void drop_others(const std::vector<int64_t>& entrants, const std::vector<int64_t>& kept) {
        for (const int64_t k : entrants) {
            if (std::find(kept.begin(), kept.end(), k) == kept.end()) candidate(k).drop_state();
        }
    }

    Session& session_;
    comm::Mpi& mpi_;
    const SearchOptions& o_;
    const model::Architecture& source_;
    std::vector<search::Candidate> candidates_;
    std::string folder_;
    SearchResults results_;
    std::vector<int64_t> rungs_, busy_;
    StopRequests stop_;
    bool stopped_ = false;
};

void print_table(const Session& session, const ordered_json& candidates) {
    if (!session.talks()) return;
    print_out("{:>4} {:>15} {:>7} {:>7} {:>6} {:>4} {:>7}  {:<9} {}\n", "", "parameters", "layers", "hidden",
              "heads", "kv", "ffn", "loads as", "loss");
    for (const auto& c : candidates) {
        print_out("{:>4} {:>15} {:>7} {:>7} {:>6} {:>4} {:>7}  {:<9} {}\n", c["candidate"].get<int64_t>(),
                  c["parameters"].get<int64_t>(), c["layers"].get<int64_t>(), c["hidden"].get<int64_t>(),
                  c["heads"].get<int64_t>(), c["kv_heads"].get<int64_t>(), c["ffn"].get<int64_t>(),
                  c["loads_as"].is_null() ? "-" : c["loads_as"].get<std::string>(),
                  c.contains("loss") ? fmt::format("{:.4f}", as_loss(c["loss"])) : "");
    }
}

/// The file and the summary's list; K of `prune --candidate K` counts in it.
void write(Session& session, const std::string& out, const ordered_json& candidates, ordered_json settings) {
    session.results["candidates"] = candidates;
    print_table(session, candidates);
    if (!session.root()) return;
    ordered_json file{
        {"format", "espalier-candidates"}, {"candidates", candidates}, {"settings", std::move(settings)}};
    io::write_file(out, file.dump(1) + "\n");
}

/// Bad input is told before the first cut.
void check_training(SearchOptions& o, const Session& session, const ModelFile& model,
                    const std::vector<search::Candidate>& candidates) {
    auto& t = o.training;
    const auto& a = model.architecture();
    if (t.seq_len == 0) t.seq_len = std::min<int64_t>(a.max_positions, 2048);
    check_seq_len(t.seq_len, model);
    check_micro_batch(t.micro_batch);
    prune::aggregator_from_string(o.batch, "--batch-aggregate");
    prune::aggregator_from_string(o.sequence, "--seq-aggregate");
    prune::depth_by_from_string(o.depth_by);
    const auto residual = prune::head_residual_from_string(o.residual);
    const auto& common = session.common();
    const int virtual_stages = o.retrains() ? common.virtual_stages : 1;
    for (const auto& c : candidates) {
        model::check_layout(search::with_shape(a, c.shape), common.tp, common.pp, virtual_stages,
                            fmt::format("a candidate ({})", search::to_string(c.shape)));
        for (const auto& l : a.layers)
            prune::check_heads(l, c.shape.heads, c.shape.kv_heads, residual, o.model);
    }
    document_masks(session, t.documents, model);
    const auto sources = open_data(session.world(), t.data, a.vocab);
    if (!t.valid.empty()) open_data(session.world(), {t.valid}, a.vocab);
    if (!o.retrains()) return;
    if (t.valid.empty())
        session.log().warning(
            "candidates are ranked by their loss on the end of --data, which they are trained on, too; name "
            "held-out text with --valid");
    check(t);
    check_divergence(t, distill::parse_loss_terms(t.loss, t.temperature, t.top_k));
    const int64_t steps = div_ceil(t.tokens, t.global_batch * t.seq_len);
    data::Samples(sources, steps * t.global_batch, t.seq_len, static_cast<uint32_t>(session.common().seed));
}

int measure_all(Session& session, comm::Mpi& mpi, const SearchOptions& o, const ModelFile& model,
                const std::vector<search::Candidate>& candidates) {
    const auto count = std::ssize(candidates);
    ESPALIER_REQUIRE(o.candidate < count, "--candidate {}: there are {}; choose between 0 and {}",
                     o.candidate, count, count - 1);
    Search search(session, mpi, o, model.architecture(), candidates);
    bool complete = false;
    const auto same = settings(session, o, &model);
    search.open(same);
    try {
        complete = search.run();
    } catch (...) {
        search.remove_if_empty();
        throw;
    }
    auto ranked = search.ranked();
    session.results["rungs"] = search.rungs();
    if (o.candidate < 0 && complete) {
        // Before the list is there, whose search nobody starts again.
        search.drop_states();
        write(session, o.training.out, ranked, same);
        search.remove_records();
        return exit_code::done;
    }
    session.results["candidates"] = ranked;
    if (search.stopped()) {
        session.log().info("stopped; the same command goes on from there");
        return exit_code::work_left;
    }
    if (o.candidate >= 0) return exit_code::done;
    session.log().warning("other jobs are at work on {} of the candidates; start again when they have ended",
                          search.busy().size());
    return exit_code::work_left;
}

}  // namespace

int search(const std::vector<std::string>& arguments, comm::Mpi& mpi) {
    SearchOptions o;
    return run_job(
        "search", arguments, [&](Options& options) { declare(o, options); },
        [&](Session& session, const Options& options) {
            check(o, options);
            std::optional<OutputLock> lock;
            if (o.candidate < 0) lock.emplace(session, o.training.out);  // the others write no list
            io::check_output(o.training.out, session.common().existing());
            const auto space = space_of(o);
            const auto budget = budget_of(o, options);
            const auto loaders = o.loadable_only ? search::Loaders::required : search::Loaders::any;
            std::optional<ModelFile> model;
            if (!o.model.empty()) model.emplace(o.model, session.world().handle());
            const auto a = model ? model->architecture() : read_architecture(o.arch);
            const auto candidates = search::enumerate(a, space, budget, use_of(o, a), loaders);
            session.results["count"] = candidates.size();
            if (o.measures()) {
                check_training(o, session, *model, candidates);
                return measure_all(session, mpi, o, *model, candidates);
            }
            auto list = ordered_json::array();
            for (size_t k = 0; k < candidates.size(); ++k)
                list.push_back(to_json(candidates[k], static_cast<int64_t>(k)));
            write(session, o.training.out, list, settings(session, o, model ? &*model : nullptr));
            return exit_code::done;
        });
}

}  // namespace espalier::jobs
