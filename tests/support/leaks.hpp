// Looks for memory that nothing points at any more, where AddressSanitizer is built in.
#pragma once

namespace espalier::test {

/// What this thread allocates in its lifetime counts as no leak.
class IgnoreLeaks {
public:
    IgnoreLeaks();
    ~IgnoreLeaks();
    IgnoreLeaks(const IgnoreLeaks&) = delete;
    IgnoreLeaks& operator=(const IgnoreLeaks&) = delete;
};

/// Ends the process with a report and a non-zero code when there are leaks other than those of the MPI
/// library. Call while MPI is up: once its plugins are unloaded their leaks have no name to be told apart by.
void check_for_leaks();

}  // namespace espalier::test
