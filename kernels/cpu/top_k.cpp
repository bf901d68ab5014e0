#include "kernels/cpu/top_k.hpp"

#include <algorithm>
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

/// Larger logit first, then lower id; what is not there comes last.
bool better(const Candidate& x, const Candidate& y) {
    return x.value > y.value || (x.value == y.value && x.id >= 0 && (y.id < 0 || x.id < y.id));
}

/// The best K of what is offered, in a heap whose top is the worst of them.
class Best {
public:
    explicit Best(int64_t k) : k_(static_cast<size_t>(k)) { heap_.reserve(k_ + 1); }

    /// Nothing below this gets in.
    float threshold() const { return heap_.size() < k_ ? -infinity : heap_.front().value; }

    void offer(Candidate c) {
        if (heap_.size() == k_ && !better(c, heap_.front())) return;
        heap_.push_back(c);
        std::push_heap(heap_.begin(), heap_.end(), better);
        if (heap_.size() <= k_) return;
        std::pop_heap(heap_.begin(), heap_.end(), better);
        heap_.pop_back();
    }

    void write(float* values, int32_t* ids) {
        std::sort_heap(heap_.begin(), heap_.end(), better);
        for (size_t i = 0; i < k_; ++i) {
            values[i] = i < heap_.size() ? heap_[i].value : -infinity;
            ids[i] = i < heap_.size() ? heap_[i].id : -1;
        }
        heap_.clear();
    }

private:
    size_t k_;
    std::vector<Candidate> heap_;
};

}  // namespace

void row_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids) {
    const int64_t rows = logits.dim(0), n = logits.dim(1), k = values.dim(1);
#pragma omp parallel num_threads(ctx.threads())
    {
        Best best(k);
#pragma omp for
        for (int64_t i = 0; i < rows; ++i) {
            const float* const z = logits.data<float>() + i * n;
            for (int64_t j = 0; j < n; ++j) {
                if (z[j] >= best.threshold()) best.offer({z[j], static_cast<int32_t>(first_id + j)});
            }
            best.write(values.data<float>() + i * k, ids.data<int32_t>() + i * k);
        }
    }
}

void merge_top_k(Context& ctx, const Tensor& all_values, const Tensor& all_ids, Tensor& values, Tensor& ids) {
    const int64_t parts = all_values.dim(0), rows = all_values.dim(1), k = all_values.dim(2);
#pragma omp parallel num_threads(ctx.threads())
    {
        Best best(k);
#pragma omp for
        for (int64_t i = 0; i < rows; ++i) {
            for (int64_t part = 0; part < parts; ++part) {
                for (int64_t j = (part * rows + i) * k; j < (part * rows + i + 1) * k; ++j)
                    best.offer({all_values.data<float>()[j], all_ids.data<int32_t>()[j]});
            }
            best.write(values.data<float>() + i * k, ids.data<int32_t>() + i * k);
        }
    }
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
