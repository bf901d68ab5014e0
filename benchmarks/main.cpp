#include "benchmarks/main.hpp"

#include <benchmark/benchmark.h>

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    espalier::benchmarks::add_benchmarks();
    benchmark::RunSpecifiedBenchmarks();
}
