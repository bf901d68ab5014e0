// The program: picks the job, runs it on every rank, and turns what goes wrong into one message and an exit
// code.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "io/hdf5.hpp"
#include "io/system_error.hpp"
#include "jobs/job.hpp"
#include "jobs/session/ending.hpp"
#include "jobs/session/standard_output.hpp"
#include "src/core/error.hpp"
#include "src/core/log.hpp"

namespace {

using namespace espalier;

std::string overview() {
    std::string out = "espalier " ESPALIER_VERSION
                      ": prune a trained transformer and distil it back\n\nusage: espalier <job> [options]   "
                      "   espalier <job> --help\n"
                      "       mpirun -n N espalier <job> [options]\n\n";
    for (const auto& job : jobs::jobs()) out += fmt::format("  {:<15}{}\n", job.name, job.summary);
    return out;
}

/// What this processor lacks of what the program is compiled for (ESPALIER_CPU_BASELINE), if anything.
const char* missing_instructions() {
#if defined(__AVX512F__)
    if (!__builtin_cpu_supports("avx512f")) return "AVX-512";
#endif
#if defined(__AVX2__)
    if (!__builtin_cpu_supports("avx2")) return "AVX2";
#endif
#if defined(__FMA__)
    if (!__builtin_cpu_supports("fma")) return "FMA";
#endif
    return nullptr;
}

/// Most errors strike every rank alike; rank 0 speaks for all, and the others get their turn only if it does
/// not.
void report(const comm::Mpi& mpi, const std::string& job, const std::string& message) {
    if (mpi.rank() != 0) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    Log({"espalier " + job, mpi.rank()}).error("{}", message);
}

/// A launcher may report how the ranks that it killed ended, not the one that knew why. One that names a file
/// finds bad input there.
void leave_exit_code(int rank, int code) {
    const char* path = std::getenv("ESPALIER_EXIT_CODE_FILE");
    if (!path || !*path) return;
    const std::string part = fmt::format("{}.{}", path, rank);
    std::ofstream(part) << code << '\n';
    std::error_code ignored;  // the launcher still has the exit code
    std::filesystem::rename(part, path, ignored);
}

/// A file that is opened while one of the three is closed would take its place, and what is printed. What is
/// printed where nobody can read it is lost, as on a full disk.
void open_standard_streams() {
    for (int descriptor = 0; descriptor < 3; ++descriptor) {
        if (::fcntl(descriptor, F_GETFD) < 0)
            static_cast<void>(::open(descriptor == STDOUT_FILENO ? "/dev/full" : "/dev/null", O_RDWR));
    }
}

/// Beyond a limit for files (`ulimit -f`) writing then fails, and somebody says so; a signal would end us.
void let_oversized_writes_fail() {
    std::signal(SIGXFSZ, SIG_IGN);
}

/// Threads wait for each other in a loop of 300000 pauses, 10 ms and more, unless libgomp knows better. On
/// cores that others use, too, that is time in which nobody works: a small step took ten times as long. It
/// reads the setting when it is loaded, so the program begins again, once.
void wait_briefly(char** argv) {
    if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
    if (getauxval(AT_BASE) == 0) return;  // the dynamic loader was called, which would be called again
    ::setenv("GOMP_SPINCOUNT", "10000", 1);
    std::error_code unknown;
    const auto program = std::filesystem::read_symlink("/proc/self/exe", unknown);
    if (!unknown) ::execv(program.c_str(), argv);  // comes back only where that fails, and nothing is lost
}

int run(const jobs::Job& job, const std::vector<std::string>& arguments, comm::Mpi& mpi) {
    int code = jobs::exit_code::internal_error;
    try {
        code = job.run(arguments, mpi);
        if (code == jobs::exit_code::bad_input) leave_exit_code(mpi.rank(), code);
        return code;
    } catch (const MachineError& e) {
        report(mpi, job.name, e.what());
    } catch (const UserError& e) {
        code = jobs::exit_code::bad_input;
        report(mpi, job.name, e.what());
        leave_exit_code(mpi.rank(), code);
    } catch (const std::filesystem::filesystem_error& e) {
        report(mpi, job.name, fmt::format("{}: {}", e.path1().string(), e.code().message()));
        if (!io::may_pass(e.code().value())) {
            code = jobs::exit_code::bad_input;
            leave_exit_code(mpi.rank(), code);
        }
    } catch (const std::bad_alloc&) {
        report(mpi, job.name,
               "out of memory; use more ranks (--tp, --pp), a smaller --micro-batch or a shorter --seq-len");
    } catch (const std::exception& e) {
        report(mpi, job.name, fmt::format("internal error: {}", e.what()));
    }
    if (mpi.size() > 1) mpi.abort(code);
    if (io::hdf5::keeps_a_broken_file()) {
        static_cast<void>(std::fflush(nullptr));
        std::_Exit(code);
    }
    return code;
}

/// `name`: the first word of the command line.
int start(const std::string& name, int argc, char** argv) {
    if (name == "--help" || name == "-h" || name == "help") {
        jobs::print_text(overview());
        jobs::finish_printing();
        return argc > 1 ? jobs::exit_code::done : jobs::exit_code::bad_input;
    }
    if (name == "--version") {
        jobs::print_out("espalier {}\n", ESPALIER_VERSION);
        jobs::finish_printing();
        return jobs::exit_code::done;
    }
    const jobs::Job* job = jobs::find_job(name);
    if (!job) {
        Log({"espalier"}).error("unknown job \"{}\"; `espalier --help` lists the jobs", name);
        return jobs::exit_code::bad_input;
    }
    if (const char* missing = missing_instructions()) {
        Log({"espalier"})
            .error("this build needs a processor with {}; build for this one with ESPALIER_CPU_BASELINE",
                   missing);
        return jobs::exit_code::bad_input;
    }
    wait_briefly(argv);
    const jobs::OrderlyEnding ending;
    comm::Mpi mpi(argc, argv);
    return run(*job, {argv + 2, argv + argc}, mpi);
}

}  // namespace

int main(int argc, char** argv) {
    open_standard_streams();
    let_oversized_writes_fail();
    const std::string name = argc > 1 ? argv[1] : "--help";
    try {
        return start(name, argc, argv);
    } catch (const UserError& e) {
        Log({"espalier " + name}).error("{}", e.what());
        return jobs::exit_code::bad_input;
    } catch (const std::exception& e) {
        Log({"espalier " + name}).error("internal error: {}", e.what());
        return jobs::exit_code::internal_error;
    }
}
