// prune: cut a model to a target shape, tensor by tensor, every rank its own rows.
#include <fmt/core.h>

#include <algorithm>

#include "io/publish.hpp"
#include "jobs/job.hpp"
#include "jobs/model_file.hpp"
#include "jobs/progress.hpp"
#include "jobs/scores_file.hpp"
#include "src/core/error.hpp"
#include "src/prune/slice.hpp"

namespace espalier::jobs {
namespace {

struct PruneOptions {
    std::string model, importance, out, drop_layers, batch = "l2", sequence = "mean", residual = "off",
                                                     depth_by = "bi";
    bool contiguous = false;
    int64_t hidden = 0, heads = 0, kv_heads = 0, ffn = 0, layers = 0;
};

/// Rows of the source that are read at a time: what bounds a rank's memory.
constexpr int64_t block_bytes = int64_t{64} << 20;

std::optional<int64_t> given(const Options& options, const char* name, int64_t value) {
    return options.given(name) ? std::optional(value) : std::nullopt;
}

/// Cuts this rank's rows of one weight. Rows of the source are dealt to the ranks and read whole and in
/// order, kept or not: what the file's checksum says can then be held against all of it.
void cut(Context& ctx, ModelFile& from, const std::string& source_name, const model::Parameter& target,
         std::vector<std::vector<int64_t>> indices, const comm::Communicator& world, ModelWriter& to) {
    const auto* source = from.reader().find("parameters/" + source_name);
    const std::vector<int64_t> kept_rows = indices[0];
    const Range mine = comm::my_rows(world, source->shape[0]);
    const int64_t row_bytes = std::max<int64_t>(1, element_count(source->shape) / source->shape[0]) *
                              narrow<int64_t>(size_of(source->dtype));
    const int64_t step = std::max<int64_t>(1, block_bytes / row_bytes);
    for (int64_t first = mine.begin; first < mine.end; first += step) {
        const int64_t end = std::min(first + step, mine.end);
        Box box = whole(source->shape);
        box.offset[0] = first;
        box.count[0] = end - first;
        Tensor rows = ctx.empty(box.count, source->dtype);
        from.reader().read(source->name, box, rows, box);

        const auto begin_kept = std::lower_bound(kept_rows.begin(), kept_rows.end(), first),
                   end_kept = std::lower_bound(begin_kept, kept_rows.end(), end);
        if (begin_kept == end_kept) continue;
        indices[0].assign(begin_kept, end_kept);
        for (int64_t& row : indices[0]) row -= first;
        Box into = whole(target.shape);
        into.offset[0] = begin_kept - kept_rows.begin();
        into.count[0] = end_kept - begin_kept;
        Tensor block = ctx.empty(into.count, source->dtype);
        prune::take(rows, indices, block);
        to.write(target, into, block);
    }
}

nlohmann::ordered_json to_json(const prune::Kept& kept) {
    return {{"channels", kept.channels},
            {"layers", kept.layers},
            {"ffn", kept.ffn},
            {"heads", kept.heads},
            {"kv_heads", kept.kv_heads}};
}

}  // namespace

int prune(const std::vector<std::string>& arguments, comm::Mpi&) {
    PruneOptions o;
    const auto declare = [&](Options& options) {
        options.add()("model", po::value(&o.model)->required(), "M.h5")(
            "importance", po::value(&o.importance)->default_value(o.importance),
            "I.h5 of this model; needed for all but --drop-layers")(
            "out", po::value(&o.out)->required(), "S.h5")("hidden", po::value(&o.hidden), "channels to keep")(
            "heads", po::value(&o.heads), "query heads to keep in each layer")(
            "kv-heads", po::value(&o.kv_heads),
            "KV heads to keep in each layer, with the query heads of their groups")(
            "ffn", po::value(&o.ffn), "neurons to keep in each layer")("layers", po::value(&o.layers),
                                                                       "layers to keep, by --depth-by")(
            "depth-by", po::value(&o.depth_by)->default_value(o.depth_by),
            "which layers go: bi, those of lowest block influence; ppl, those without which the loss is "
            "lowest; "
            "task, those without which the accuracy is highest")(
            "contiguous", po::bool_switch(&o.contiguous),
            "layers go as one contiguous block, which the importance file must have scored (--depth-block)")(
            "drop-layers", po::value(&o.drop_layers)->default_value(o.drop_layers),
            "layers to drop: 16-31 or 3,7,8")("batch-aggregate", po::value(&o.batch)->default_value(o.batch),
                                              "mean, l2 or var over samples")(
            "seq-aggregate", po::value(&o.sequence)->default_value(o.sequence),
            "mean, l2 or var along each sample")("head-residual",
                                                 po::value(&o.residual)->default_value(o.residual),
                                                 "off: dropped query heads leave nothing behind");
    };
    return run_job("prune", arguments, declare, [&](Session& session, const Options& options) {
        io::check_output(o.out, session.common().force);
        ESPALIER_REQUIRE(o.residual == "off", "--head-residual {}: this version knows off", o.residual);
        const prune::AggregatorPair pair{prune::aggregator_from_string(o.batch, "--batch-aggregate"),
                                         prune::aggregator_from_string(o.sequence, "--seq-aggregate")};
        ModelFile source(o.model, session.world().handle());
        const auto& a = source.architecture();
        prune::Target target{.hidden = given(options, "hidden", o.hidden),
                             .heads = given(options, "heads", o.heads),
                             .kv_heads = given(options, "kv-heads", o.kv_heads),
                             .ffn = given(options, "ffn", o.ffn)};
        target.depth.layers = given(options, "layers", o.layers);
        target.depth.by = prune::depth_by_from_string(o.depth_by);
        target.depth.style = o.contiguous ? prune::DepthStyle::contiguous : prune::DepthStyle::scattered;
        if (!o.drop_layers.empty()) target.depth.drop = prune::parse_layers(o.drop_layers, a.depth());
        ESPALIER_REQUIRE(
            target.cuts_width() || target.cuts_depth(),
            "nothing to cut: give a target, --hidden --heads --kv-heads --ffn --layers or --drop-layers");

        std::optional<prune::Scores> scores;
        if (!o.importance.empty())
            scores = read_scores(session, o.importance, a, pair, source.sha256(), o.model);
        const auto kept = prune::choose(a, scores ? &*scores : nullptr, target, o.model);
        const auto result = prune::shape(a, kept);
        const auto all = model::parameters(a), left = model::parameters(result);

        std::vector<std::string> names;
        std::vector<DType> dtypes;
        for (const auto& p : left) {
            names.push_back(prune::source_name(kept, p, all));
            dtypes.push_back(source.reader().find("parameters/" + names.back())->dtype);
        }
        ModelWriter writer(o.out, session.world().handle(), result, dtypes, session.common().force);
        Progress progress(session, "prune", static_cast<double>(model::parameter_count(result)), "weights");
        double done = 0;
        for (size_t i = 0; i < left.size(); ++i) {
            cut(session.context(), source, names[i], left[i], prune::kept_indices(a, kept, left[i]),
                session.world(), writer);
            done += static_cast<double>(left[i].size());
            progress.show(done, left[i].name);
        }
        source.reader().verify();
        writer.copy_tokenizer(source);
        writer.publish(extend_history(source, session));

        session.results["parameters"] = model::parameter_count(result);
        session.results["architecture"] = model::to_json(result);
        session.results["kept"] = to_json(kept);
        if (session.talks())
            fmt::print("{}: {} of {} parameters\n", o.out, model::parameter_count(result),
                       model::parameter_count(a));
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
