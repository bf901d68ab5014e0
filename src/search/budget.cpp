#include "src/search/budget.hpp"

#include <cmath>

#include "src/core/error.hpp"
#include "src/core/exact.hpp"
#include "src/model/parameters.hpp"
#include "src/plan/latency.hpp"

namespace espalier::search {
namespace {

constexpr double most_cached = 1e17;  // keys and values

}  // namespace

Cost cost(const model::Architecture& a, const Use& use) {
    int64_t cached = 0;  // values of a token
    for (const auto& l : a.layers) cached += 2 * l.kv_heads * a.head_dim;
    Cost out;
    out.parameters = model::parameter_count(a);
    const auto as_double = [](int64_t x) { return static_cast<double>(x); };
    ESPALIER_REQUIRE(
        as_double(cached) * as_double(use.batch) * as_double(use.seq_len) < most_cached,
        "--memory-batch {} of --memory-seq-len {} tokens: the keys and values of so many take more "
        "than any machine has; choose less",
        use.batch, use.seq_len);
    out.memory_bytes =
        narrow<int64_t>(size_of(use.dtype)) * (out.parameters + cached * use.batch * use.seq_len);
    out.flops_per_token = model::forward_flops_per_token(a, use.seq_len);
    if (use.system)
        out.seconds_per_token =
            plan::seconds_per_token(*use.system, a, {use.batch, use.seq_len, use.tp, use.dtype});
    return out;
}

double excess(const Cost& cost, const Budget& budget) {
    double out = 0;
    const auto above = [&](double value, double limit) {
        if (value > limit) out += std::log(value / limit);
    };
    const auto parameters = static_cast<double>(cost.parameters);
    if (budget.min_parameters) above(static_cast<double>(*budget.min_parameters), parameters);
    if (budget.max_parameters) above(parameters, static_cast<double>(*budget.max_parameters));
    if (budget.max_memory)
        above(static_cast<double>(cost.memory_bytes), static_cast<double>(*budget.max_memory));
    if (budget.max_flops) above(cost.flops_per_token, *budget.max_flops);
    if (budget.max_latency) above(cost.seconds_per_token.value(), *budget.max_latency);
    return out;
}

std::string to_string(const Budget& budget) {
    std::string out;
    const auto add = [&](const std::string& part) { out += (out.empty() ? "" : ", ") + part; };
    if (budget.min_parameters && budget.max_parameters) {
        add(fmt::format("{} to {} parameters", *budget.min_parameters, *budget.max_parameters));
    } else if (budget.min_parameters) {
        add(fmt::format("at least {} parameters", *budget.min_parameters));
    } else if (budget.max_parameters) {
        add(fmt::format("at most {} parameters", *budget.max_parameters));
    }
    if (budget.max_memory) add(fmt::format("at most {} bytes", *budget.max_memory));
    if (budget.max_flops) add(fmt::format("at most {:.4g} FLOPs per token", *budget.max_flops));
    if (budget.max_latency) add(fmt::format("at most {:.4g} s per generated token", *budget.max_latency));
    return out;
}

std::string to_string(const Cost& cost) {
    std::string out = fmt::format("{} parameters, {} bytes, {:.4g} FLOPs per token", cost.parameters,
                                  cost.memory_bytes, cost.flops_per_token);
    if (cost.seconds_per_token) out += fmt::format(", {:.4g} s per generated token", *cost.seconds_per_token);
    return out;
}

}  // namespace espalier::search
