// The options of search: what to enumerate, and how to rank it.
#pragma once

#include "jobs/training/options.hpp"
#include "src/search/enumerate.hpp"

namespace espalier::jobs {

struct SearchOptions {
    std::string model, arch, importance;
    std::string layers, hidden, heads, kv_heads, ffn, ffn_ratio;  // lists
    double params = 0, tolerance = 0.05, params_min = 0, params_max = 0, max_memory = 0, max_flops = 0,
           max_latency = 0;
    std::string system;
    std::string memory_dtype = "bf16";
    int64_t memory_batch = 1, memory_seq_len = 0, latency_tp = 1;
    bool loadable_only = false;
    std::string batch = "l2", sequence = "mean", depth_by = "bi", residual = "off";
    int64_t candidate = -1, rungs = 0;
    TrainingOptions training;  ///< of a candidate; tokens = 0: no retraining

    bool measures() const { return !importance.empty(); }
    bool retrains() const { return training.tokens > 0; }
};

void declare(SearchOptions& o, Options& options);

/// Throws UserError for what cannot be.
void check(const SearchOptions& o, const Options& given);

search::Space space_of(const SearchOptions& o);
search::Budget budget_of(const SearchOptions& o, const Options& given);
search::Use use_of(const SearchOptions& o, const model::Architecture& a);

}  // namespace espalier::jobs
