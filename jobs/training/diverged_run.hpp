// What ends a training that is not worth a model.
#pragma once

#include "src/core/error.hpp"

namespace espalier::jobs {

/// Losses, gradients or weights that are not finite. Thrown on all ranks alike.
class DivergedRun : public UserError {
public:
    using UserError::UserError;
};

}  // namespace espalier::jobs
