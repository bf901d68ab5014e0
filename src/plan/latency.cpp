#include "src/plan/latency.hpp"

#include <algorithm>

#include "src/core/exact.hpp"
#include "src/plan/collective.hpp"
#include "src/plan/compute.hpp"
#include "src/plan/real.hpp"

namespace espalier::plan {
double seconds_per_token(const System& system, const model::Architecture& a, const Serving& serving) {
    const double value_bytes = element_bytes(serving.dtype), batch = real(serving.batch),
                 hidden = real(a.hidden);
    const double rate = system.peak(serving.dtype) * system.matmul.best,
                 bandwidth = system.memory_bandwidth * system.memory_efficiency;
    const auto product = [&](double weights) {
        return std::max(2 * batch * weights / rate, value_bytes * weights / bandwidth);
    };
    const double sum_over_ranks = serving.tp == 1
                                      ? 0
                                      : all_reduce_seconds(ring_link(system, {serving.tp, 1}), serving.tp,
                                                           value_bytes * batch * hidden);
    const double gates = is_gated(a.activation) ? 2 : 1, sums = a.parallel_block ? 1 : 2;

    double seconds = product(real(div_ceil(a.vocab, serving.tp)) * hidden);
    for (int64_t i = 0; i < a.depth(); ++i) {
        const auto local = local_shape(a, i, serving.tp);
        const double visible =
            real(local.window > 0 ? std::min(local.window, serving.seq_len) : serving.seq_len);
        const double queries = real(local.query_heads * a.head_dim),
                     cached = 2 * real(local.kv_heads * a.head_dim);
        seconds += product((queries + cached) * hidden) + product(queries * hidden) +
                   product(gates * real(local.ffn) * hidden) + product(real(local.ffn) * hidden);
        seconds += value_bytes * batch * visible * cached / bandwidth + sums * sum_over_ranks;
    }
    return seconds;
}

}  // namespace espalier::plan
