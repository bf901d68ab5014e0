// plan --calibrate: a short run that describes the machine it runs on.
#pragma once

#include "jobs/session/session.hpp"
#include "src/plan/system.hpp"

namespace espalier::jobs {

/// Collective; all ranks measure at the same time, as they would compute, on the session's device. Seconds,
/// not minutes.
plan::System calibrate(Session& session);

}  // namespace espalier::jobs
