#include "jobs/pruning/options.hpp"

#include "jobs/data/tokens.hpp"
#include "jobs/files/candidates_file.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {

void declare(PruneOptions& o, Options& options) {
    auto& c = o.iterative.calibration;
    options.required("model", o.model, "M.h5");
    options.add("importance", o.importance,
                "I.h5 of this model; needed for all but --drop-layers and --vocab, unless --data is there to "
                "score by");
    options.required("out", o.out, "S.h5");
    options.optional("hidden", o.hidden, "channels to keep");
    options.optional("heads", o.heads, "query heads to keep in each layer");
    options.optional("kv-heads", o.kv_heads,
                     "KV heads to keep in each layer, with the query heads of their groups");
    options.optional("ffn", o.ffn, "neurons to keep in each layer");
    options.optional("head-dim", o.head_dim, "dims to keep of each head; needs `importance --head-dims`");
    options.optional("layers", o.layers, "layers to keep, by --depth-by");
    options.add("depth-by", o.depth_by,
                "which layers go: bi, those of lowest block influence; ppl, those without which the loss is "
                "lowest; task, those without which the accuracy is highest");
    options.add(
        "contiguous", o.contiguous,
        "layers go as one contiguous block, which the importance file must have scored (--depth-block)");
    options.add("drop-layers", o.drop_layers, "layers to drop: 16-31 or 3,7,8");
    options.optional("candidate", o.candidate,
                     "K: the shape at position K, from 0, of the list in --candidates, instead of naming "
                     "widths and layers");
    options.add("candidates", o.candidates,
                "CANDIDATES.json of `espalier search`; a ranked one begins with the best");
    options.optional("vocab", o.vocab, "tokens to keep, the most frequent ones of --vocab-data");
    options.add("vocab-data", o.vocab_data, "PREFIX... of token files to count tokens in");
    options.add("vocab-ids", o.vocab_ids, "FILE of the token ids to keep, instead of --vocab");
    options.add("batch-aggregate", o.batch, "mean, l2 or var over samples");
    options.add("seq-aggregate", o.sequence, "mean, l2 or var along each sample");
    options.add("head-residual", o.residual,
                "what a kept query head takes over from a dropped one of its group: off, nothing; paper, "
                "kept + (kept - dropped); laco, kept + (dropped - kept)");
    options.add("iterations", o.iterative.steps, "T: cut in T equal steps, scoring what is left before each");
    options.add("data", c.data, "PREFIX, or WEIGHT PREFIX pairs, to score by");
    declare_split(options, c.split);
    options.add("samples", c.samples, "calibration samples");
    options.add("seq-len", c.seq_len, "tokens of a sample; 0: the model's positions, at most 4096");
    options.add("micro-batch", c.micro_batch, "samples at a time");
    options.add("ffn-site", o.site, "what of a neuron --data scores, as in `importance`");
    declare_reset_attention(options, c.documents);
    options.add(
        "check", o.check,
        "PREFIX of token files: compare the cut model's logits with the whole one's, the rest silenced");
    options.add("check-tolerance", o.check_tolerance,
                "largest difference allowed, over the logits' root mean square; 0: 1e-3, or 5e-2 where bf16 "
                "weights are combined");
}

namespace {

std::optional<int64_t> value_if(const Options& options, const char* name, int64_t value) {
    return options.given(name) ? std::optional(value) : std::nullopt;
}

}  // namespace

prune::Target target_of(const PruneOptions& o, const Options& given, int64_t depth) {
    prune::Target out{.hidden = value_if(given, "hidden", o.hidden),
                      .heads = value_if(given, "heads", o.heads),
                      .kv_heads = value_if(given, "kv-heads", o.kv_heads),
                      .ffn = value_if(given, "ffn", o.ffn),
                      .head_dim = value_if(given, "head-dim", o.head_dim)};
    out.residual = prune::head_residual_from_string(o.residual);
    out.depth.layers = value_if(given, "layers", o.layers);
    out.depth.by = prune::depth_by_from_string(o.depth_by);
    out.depth.style = o.contiguous ? prune::DepthStyle::contiguous : prune::DepthStyle::scattered;
    if (given.given("candidate") || !o.candidates.empty()) {
        ESPALIER_REQUIRE(given.given("candidate") && !o.candidates.empty() && o.drop_layers.empty() &&
                             !out.hidden && !out.heads && !out.kv_heads && !out.ffn && !out.depth.layers,
                         "--candidate K and --candidates FILE go together, and stand for widths and layers; "
                         "leave the others out");
        const auto shape = read_candidate(o.candidates, o.candidate);
        out.hidden = shape.hidden;
        out.heads = shape.heads;
        out.kv_heads = shape.kv_heads;
        out.ffn = shape.ffn;
        out.depth.layers = shape.layers;
    }
    if (!o.drop_layers.empty()) out.depth.drop = prune::parse_layers(o.drop_layers, depth);
    return out;
}

void check_used(const PruneOptions& o, const prune::Target& target) {
    const PruneOptions by_default;
    const auto require = [](bool used, const char* option, const char* why) {
        ESPALIER_REQUIRE(used, "{}: {}; leave it out", option, why);
    };
    const bool ranks_layers = target.depth.layers.has_value();
    require(ranks_layers || o.depth_by == by_default.depth_by, "--depth-by",
            "no layers are ranked without --layers");
    require(ranks_layers || !o.contiguous, "--contiguous", "no layers are chosen without --layers");
    require(!o.check.empty() || o.check_tolerance == 0, "--check-tolerance",
            "nothing is compared without --check");
    const auto& data = o.iterative.calibration;
    const auto& usual = by_default.iterative.calibration;
    if (data.data.empty()) {
        constexpr const char* why = "it is for scoring by --data, and there is none";
        require(data.samples == usual.samples, "--samples", why);
        require(data.seq_len == usual.seq_len, "--seq-len", why);
        require(data.micro_batch == usual.micro_batch, "--micro-batch", why);
        require(o.site == by_default.site || o.iterative.steps != 1, "--ffn-site", why);
    }
    const bool has_scores = !o.importance.empty() || !data.data.empty();
    require(has_scores || o.batch == by_default.batch, "--batch-aggregate",
            "there are no scores to aggregate");
    require(has_scores || o.sequence == by_default.sequence, "--seq-aggregate",
            "there are no scores to aggregate");
}

VocabularyTarget vocabulary_of(const PruneOptions& o, const Options& given) {
    return {value_if(given, "vocab", o.vocab), o.vocab_data, o.vocab_ids};
}

prune::AggregatorPair pair_of(const PruneOptions& o) {
    return {prune::aggregator_from_string(o.batch, "--batch-aggregate"),
            prune::aggregator_from_string(o.sequence, "--seq-aggregate")};
}

nlohmann::ordered_json to_json(const prune::Kept& kept, const model::Architecture& source) {
    using nlohmann::ordered_json;
    ordered_json out{{"channels", kept.channels},
                     {"layers", kept.layers},
                     {"ffn", kept.ffn},
                     {"heads", kept.heads},
                     {"kv_heads", kept.kv_heads}};
    if (std::ssize(kept.vocab) < source.vocab) out["vocab"] = kept.vocab;
    const auto dims = [&](const std::vector<int64_t> prune::HeadDims::*list) {
        auto layers = ordered_json::array();
        for (const auto& groups : kept.head_dims) {
            auto layer = ordered_json::array();
            for (const auto& group : groups) layer.push_back(group.*list);
            layers.push_back(std::move(layer));
        }
        return layers;
    };
    if (!kept.head_dims.empty()) {
        out["query_key_dims"] = dims(&prune::HeadDims::query_key);
        out["value_dims"] = dims(&prune::HeadDims::value);
    }
    if (!kept.pairs.empty()) {
        auto layers = ordered_json::array();
        for (const auto& pairs : kept.pairs) {
            auto layer = ordered_json::array();
            for (const auto& p : pairs) layer.push_back({p.kept, p.dropped});
            layers.push_back(std::move(layer));
        }
        out["head_pairs"] = std::move(layers);
    }
    return out;
}

}  // namespace espalier::jobs
