// The options of prune, and what they ask for.
#pragma once

#include "jobs/pruning/iterative_cut.hpp"
#include "jobs/pruning/vocabulary.hpp"

namespace espalier::jobs {

struct PruneOptions {
    std::string model, importance, out, drop_layers, batch = "l2", sequence = "mean", residual = "off",
                                                     site = "post", depth_by = "bi", vocab_ids, check,
                                                     candidates;
    std::vector<std::string> vocab_data;
    bool contiguous = false;
    int64_t hidden = 0, heads = 0, kv_heads = 0, ffn = 0, layers = 0, head_dim = 0, vocab = 0, candidate = 0;
    double check_tolerance = 0;
    IterativeOptions iterative;
};

void declare(PruneOptions& o, Options& options);

/// Throws UserError for options that would change nothing beside the others.
void check_used(const PruneOptions& o, const prune::Target& target);

/// Throw UserError for words that are none of an option's.
prune::Target target_of(const PruneOptions& o, const Options& given, int64_t depth);
VocabularyTarget vocabulary_of(const PruneOptions& o, const Options& given);
prune::AggregatorPair pair_of(const PruneOptions& o);

/// The summary's `kept`.
nlohmann::ordered_json to_json(const prune::Kept& kept, const model::Architecture& source);

}  // namespace espalier::jobs
