// What a micro-benchmark gives the main function that all of them share.
#pragma once

namespace espalier::benchmarks {

/// Defined by each program: registers its cases, after the command line was read.
void add_benchmarks();

}  // namespace espalier::benchmarks
