#include "kernels/reference/qk_norm.hpp"

#include <cmath>

namespace espalier::reference {
namespace {

/// f(where a normed head begins, whether it is a query) for each.
template <class F>
void each_normed_head(size_t elements, int64_t dims, HeadCounts heads, F f) {
    const auto all = static_cast<int64_t>(elements) / dims;
    for (int64_t row = 0; row < all; ++row) {
        const int64_t head = row % heads.all();
        if (head < heads.normed()) f(row * dims, head < heads.query);
    }
}

double reciprocal_root(const double* x, int64_t dims, double eps) {
    double squares = 0;
    for (int64_t j = 0; j < dims; ++j) squares += x[j] * x[j];
    return 1 / std::sqrt(squares / static_cast<double>(dims) + eps);
}

}  // namespace

Values qk_norm(const Values& x, const Values& query_weight, const Values& key_weight, HeadCounts heads,
               double eps) {
    const auto dims = std::ssize(query_weight);
    Values y = x;
    each_normed_head(x.size(), dims, heads, [&](int64_t at, bool query) {
        const double rstd = reciprocal_root(&x[at], dims, eps);
        for (int64_t j = 0; j < dims; ++j) y[at + j] *= rstd * (query ? query_weight : key_weight)[j];
    });
    return y;
}

QkNormGradients qk_norm_backward(const Values& dy, const Values& x, const Values& query_weight,
                                 const Values& key_weight, HeadCounts heads, double eps) {
    const auto dims = std::ssize(query_weight);
    QkNormGradients out{dy, Values(query_weight.size()), Values(key_weight.size())};
    each_normed_head(x.size(), dims, heads, [&](int64_t at, bool query) {
        const Values& weight = query ? query_weight : key_weight;
        Values& dweight = query ? out.d_query_weight : out.d_key_weight;
        const double rstd = reciprocal_root(&x[at], dims, eps);
        double projection = 0;  // of the normalised head's gradient on the head
        for (int64_t j = 0; j < dims; ++j)
            projection += dy[at + j] * weight[j] * x[at + j] * rstd / static_cast<double>(dims);
        for (int64_t j = 0; j < dims; ++j) {
            const double normal = x[at + j] * rstd;
            dweight[j] += dy[at + j] * normal;
            out.dx[at + j] = rstd * (dy[at + j] * weight[j] - normal * projection);
        }
    });
    return out;
}

}  // namespace espalier::reference
