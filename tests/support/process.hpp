// Runs another program from a test.
#pragma once

#include <string>
#include <vector>

namespace espalier::test {

struct ProcessResult {
    int exit_code = 0;  ///< 128 + the signal for a program that a signal ended
    std::string out;
    std::string err;
};

/// Runs `command` (program, then arguments; looked up in PATH) to its end. The program does not see that it
/// was started by an MPI process: it is a job of its own, alone or under an mpirun of its own. `environment`
/// holds NAME=value pairs to add.
ProcessResult run_process(const std::vector<std::string>& command,
                          const std::vector<std::string>& environment = {});

/// Ends the program that run_process waits for in another thread, if there is one, as kill does: an mpirun
/// ends its ranks with itself.
void end_running_process();

}  // namespace espalier::test
