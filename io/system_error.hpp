// What a system call's error number means for the run.
#pragma once

#include <string>

namespace espalier::io {

/// Whether the next start may not meet `error` (errno) again: a disk's read error, a file server out of
/// reach.
bool may_pass(int error);

/// Throws "WHAT: the system's word for `error`" (errno): MachineError where it may pass,
/// UserError where the user has to do something first (a full disk, no permission, a name that is wrong).
[[noreturn]] void fail_of_system(const std::string& what, int error);

}  // namespace espalier::io
