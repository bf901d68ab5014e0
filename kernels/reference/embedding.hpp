// Token embedding, one token at a time.
#pragma once

#include "kernels/embedding.hpp"
#include "kernels/reference/values.hpp"

namespace espalier::reference {

/// out [ids.size(), n] of table [vocab, n], which holds ids first_id onwards; 0 for ids it does not hold.
Values embed(const std::vector<int32_t>& ids, const Values& table, int64_t n, int64_t first_id);

/// dtable [vocab, n].
Values embed_backward(const Values& dout, const std::vector<int32_t>& ids, int64_t vocab, int64_t n,
                      int64_t first_id);

}  // namespace espalier::reference
