// Successive halving (Jamieson and Talwalkar 2016): all candidates are trained for a short while, the better
// half goes on, until one is left.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace espalier::search {

/// Steps after which candidates are compared, ascending; the last is `steps`. Each rung is twice the one
/// before, to the next multiple of `multiple`. `count` rungs, or (0) as many as leave one candidate at the
/// last; never more than there are different steps.
std::vector<int64_t> rungs(int64_t candidates, int64_t steps, int64_t multiple, int64_t count);

/// Losses of candidates at one rung, by candidate.
using Losses = std::map<int64_t, double>;

/// The better half of `entrants`, rounded up, ascending: those of lowest loss, of equals the lower numbers;
/// none that diverged (a loss that is not finite), unless all did, then one. Nothing while the loss of an
/// entrant is missing.
std::optional<std::vector<int64_t>> survivors(const std::vector<int64_t>& entrants, const Losses& losses);

/// All candidates, the best first: who came further is better, then who has the lower loss at the last step
/// that it came to; of equals the lower number; behind them who diverged there. by_steps: losses at 0 (before
/// any training) and at each rung.
std::vector<int64_t> ranking(const std::map<int64_t, Losses>& by_steps);

}  // namespace espalier::search
