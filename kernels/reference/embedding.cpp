#include "kernels/reference/embedding.hpp"

namespace espalier::reference {

Values embed(const std::vector<int32_t>& ids, const Values& table, int64_t n, int64_t first_id) {
    Values out(std::ssize(ids) * n);
    for (int64_t i = 0; i < std::ssize(ids); ++i) {
        const int64_t row = ids[i] - first_id;
        for (int64_t j = 0; j < n; ++j) {
            if (row >= 0 && row < std::ssize(table) / n) out[i * n + j] = table[row * n + j];
        }
    }
    return out;
}

Values embed_backward(const Values& dout, const std::vector<int32_t>& ids, int64_t vocab, int64_t n,
                      int64_t first_id) {
    Values dtable(vocab * n);
    for (int64_t i = 0; i < std::ssize(ids); ++i) {
        const int64_t row = ids[i] - first_id;
        for (int64_t j = 0; j < n; ++j) {
            if (row >= 0 && row < vocab) dtable[row * n + j] += dout[i * n + j];
        }
    }
    return dtable;
}

}  // namespace espalier::reference
