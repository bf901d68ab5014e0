// The main function of the programs that have options of their own.
#pragma once

#include <fmt/core.h>

#include <boost/program_options.hpp>
#include <iostream>

#include "src/comm/mpi.hpp"
#include "src/core/error.hpp"

namespace espalier::benchmarks {

/// Parses into what `all` declares, starts MPI and calls run(mpi), whose exit code it returns; --help is
/// answered here. Bad input is 2, an internal error 1, each with one line on standard error.
template <class Run>
int run_command(const char* program, const boost::program_options::options_description& all, int argc,
                char** argv, Run run) {
    namespace po = boost::program_options;
    try {
        po::variables_map values;
        po::store(po::parse_command_line(argc, argv, all), values);
        po::notify(values);
        if (values.count("help")) {
            std::cout << all;
            return 0;
        }
        comm::Mpi mpi(argc, argv);
        return run(mpi);
    } catch (const InternalError& e) {
        fmt::print(stderr, "{}: {}\n", program, e.what());
        return 1;
    } catch (const std::exception& e) {
        fmt::print(stderr, "{}: {}\n", program, e.what());
        return 2;
    }
}

}  // namespace espalier::benchmarks
