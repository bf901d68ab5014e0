#include "kernels/cpu/top_k.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/vocabulary_part.hpp"

namespace espalier::cpu {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

struct Candidate {
    float value;
    int32_t id;
};

/// Larger logit first, then lower id.
bool better(const Candidate& x, const Candidate& y) {
    return x.value > y.value || (x.value == y.value && x.id < y.id);
}

/// Logits that are compared with a threshold at once.
constexpr int64_t group = 64;

bool any_above(const float* z, int64_t count, float threshold) {
    int any = 0;
#pragma omp simd reduction(| : any)
    for (int64_t j = 0; j < count; ++j) any |= z[j] > threshold ? 1 : 0;
    return any != 0;
}

/// The best K of candidates, of which equal logits come in ascending order of ids. Those that may be among
/// them are put aside; whenever these are many, all but the K best are dropped, and what comes later has to
/// be larger than the worst of the K.
class Best {
public:
    explicit Best(int64_t k) : k_(static_cast<size_t>(k)), most_(std::max<size_t>(4 * k_, 256)) {
        kept_.reserve(most_);
    }

    void start() {
        kept_.clear();
        full_ = false;
        sorted_ = 0;
    }
    /// With what an earlier part wrote.
    void start(const float* values, const int32_t* ids) {
        start();
        for (size_t i = 0; i < k_ && ids[i] >= 0; ++i) kept_.push_back({values[i], ids[i]});
        sorted_ = kept_.size();
        if (sorted_ == k_) close();
    }

    void add(const float* z, int64_t n, int64_t first_id) {
        for (int64_t begin = 0; begin < n; begin += group) {
            const int64_t end = std::min(begin + group, n);
            if (full_ && !any_above(z + begin, end - begin, threshold_)) continue;
            for (int64_t j = begin; j < end; ++j) put({z[j], static_cast<int32_t>(first_id + j)});
        }
    }
    void put(Candidate c) {
        if (full_ ? !(c.value > threshold_) : std::isnan(c.value)) return;
        kept_.push_back(c);
        if (kept_.size() == most_) drop();
    }

    /// Best first; what an earlier part wrote stays where nothing came to it.
    void write(float* values, int32_t* ids) {
        if (sorted_ == kept_.size() && sorted_ == k_) return;
        const auto new_ones = kept_.begin() + static_cast<std::ptrdiff_t>(sorted_);
        std::sort(new_ones, kept_.end(), better);
        merged_.resize(kept_.size());
        std::merge(kept_.begin(), new_ones, new_ones, kept_.end(), merged_.begin(), better);
        for (size_t i = 0; i < k_; ++i) {
            values[i] = i < merged_.size() ? merged_[i].value : -infinity;
            ids[i] = i < merged_.size() ? merged_[i].id : -1;
        }
    }

private:
    void drop() {
        std::nth_element(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(k_ - 1), kept_.end(),
                         better);
        kept_.resize(k_);
        sorted_ = 0;
        close();
    }
    /// The last of K is the worst.
    void close() {
        full_ = true;
        threshold_ = kept_.back().value;
    }

    size_t k_, most_;
    std::vector<Candidate> kept_, merged_;
    size_t sorted_ = 0;  ///< as many of kept_, its first, are in order
    bool full_ = false;  ///< K are known, the worst of them `threshold_`
    float threshold_ = 0;
};

/// f(best, row) for all rows.
template <class F>
void for_rows(Context& ctx, int64_t rows, int64_t k, F f) {
#pragma omp parallel num_threads(ctx.threads())
    {
        Best best(k);
#pragma omp for
        for (int64_t i = 0; i < rows; ++i) f(best, i);
    }
}

}  // namespace

void row_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids) {
    const int64_t n = logits.dim(1), k = values.dim(1);
    for_rows(ctx, logits.dim(0), k, [&](Best& best, int64_t i) {
        best.start();
        best.add(logits.data<float>() + i * n, n, first_id);
        best.write(values.data<float>() + i * k, ids.data<int32_t>() + i * k);
    });
}

void add_to_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids) {
    const int64_t n = logits.dim(1), k = values.dim(1);
    for_rows(ctx, logits.dim(0), k, [&](Best& best, int64_t i) {
        float* const of_row = values.data<float>() + i * k;
        int32_t* const ids_of_row = ids.data<int32_t>() + i * k;
        best.start(of_row, ids_of_row);
        best.add(logits.data<float>() + i * n, n, first_id);
        best.write(of_row, ids_of_row);
    });
}

void merge_top_k(Context& ctx, const Tensor& all_values, const Tensor& all_ids, Tensor& values, Tensor& ids) {
    const int64_t parts = all_values.dim(0), rows = all_values.dim(1), k = all_values.dim(2);
    for_rows(ctx, rows, k, [&](Best& best, int64_t i) {
        best.start();
        for (int64_t part = 0; part < parts; ++part) {
            const int64_t first = (part * rows + i) * k;
            for (int64_t j = first; j < first + k && all_ids.data<int32_t>()[j] >= 0; ++j)
                best.put({all_values.data<float>()[j], all_ids.data<int32_t>()[j]});
        }
        best.write(values.data<float>() + i * k, ids.data<int32_t>() + i * k);
    });
}

void pick_logits(Context&, const Tensor& logits, const Tensor& ids, int64_t first_id, Tensor& picked) {
    const int64_t rows = logits.dim(0), n = logits.dim(1), k = ids.dim(1);
    for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = i * k; j < (i + 1) * k; ++j) {
            const int64_t column = column_of(ids.data<int32_t>()[j], first_id, n);
            picked.data<float>()[j] = column >= 0 ? logits.data<float>()[i * n + column] : 0.0f;
        }
    }
}

}  // namespace espalier::cpu
