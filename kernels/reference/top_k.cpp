#include "kernels/reference/top_k.hpp"

#include <algorithm>
#include <numeric>

namespace espalier::reference {

std::vector<int64_t> top_k(const double* z, int64_t n, int64_t k) {
    std::vector<int64_t> ids(static_cast<size_t>(n));
    std::iota(ids.begin(), ids.end(), int64_t{0});
    std::stable_sort(ids.begin(), ids.end(), [&](int64_t x, int64_t y) { return z[x] > z[y]; });
    ids.resize(static_cast<size_t>(k));
    return ids;
}

}  // namespace espalier::reference
