// The part of Python's pickle that torch.save writes for a dictionary of tensors, and nothing else: no code
// can run.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/encoding.hpp"

namespace espalier::io {

/// A tensor as the pickle describes it: a window into one of the archive's storages.
struct PickledTensor {
    std::string name;
    const Encoding* encoding;  ///< of the storage's elements
    std::string storage;       ///< key of the archive's member data/<key>
    int64_t storage_elements;
    int64_t offset;  ///< of the first element in the storage
    std::vector<int64_t> shape;
    std::vector<int64_t> strides;
};

/// The tensors of the pickled dictionary in its order; `what` names it in messages. Throws UserError naming
/// any global that is not one of torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter,
/// torch.*Storage and collections.OrderedDict, any opcode beyond those that torch.save needs, and any value
/// that is not a tensor.
std::vector<PickledTensor> unpickle_tensors(std::string_view pickle, const std::string& what);

}  // namespace espalier::io
