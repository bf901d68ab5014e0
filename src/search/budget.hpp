// What a model costs, and whether that is within a budget.
#pragma once

#include <optional>
#include <string>

#include "src/core/dtype.hpp"
#include "src/model/architecture.hpp"
#include "src/plan/system.hpp"

namespace espalier::search {

/// Where a model is to run.
struct Use {
    DType dtype = DType::bf16;                ///< of weights and of the cache
    int64_t batch = 1;                        ///< sequences that are generated at a time
    int64_t seq_len = 4096;                   ///< of each
    std::optional<plan::System> system = {};  ///< that serves it, where latency matters
    int64_t tp = 1;                           ///< ranks of the system that a model is split over
};

struct Cost {
    int64_t parameters = 0;
    int64_t memory_bytes = 0;    ///< weights, and the keys and values of batch x seq_len tokens
    double flops_per_token = 0;  ///< of a forward pass at seq_len
    std::optional<double> seconds_per_token = {};  ///< generated, on Use::system (src/plan/latency.hpp)
};
/// Throws UserError naming --memory-batch and --memory-seq-len where their cache is beyond counting.
Cost cost(const model::Architecture& a, const Use& use);

/// Absent limits allow anything.
struct Budget {
    std::optional<int64_t> min_parameters = {}, max_parameters = {}, max_memory = {};
    std::optional<double> max_flops = {}, max_latency = {};
    bool limits() const { return min_parameters || max_parameters || max_memory || max_flops || max_latency; }
};

/// A budget with max_latency needs costs with seconds_per_token. How far a cost misses a budget: 0 inside,
/// else the sum over limits of |log(cost / limit)|.
double excess(const Cost& cost, const Budget& budget);

/// "3800000000 to 4200000000 parameters, at most 16000000000 bytes".
std::string to_string(const Budget& budget);
/// "4193404928 parameters, 9460776960 bytes, 8.4e+09 FLOPs per token".
std::string to_string(const Cost& cost);

}  // namespace espalier::search
