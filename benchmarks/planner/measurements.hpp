// Published step times, as the planner's own words: data/ holds the numbers, data/README.md their sources.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/plan/memory.hpp"

namespace espalier::benchmarks {

struct Measurement {
    std::string label;
    std::shared_ptr<plan::Step> step = std::make_shared<plan::Step>();
    plan::Layout layout;
    double seconds = 0;
    /// Of the step; copies share it, so that a fit cuts it once.
    std::shared_ptr<plan::StepPartition> partition = std::make_shared<plan::StepPartition>(*step);
};

/// GPT-3 shapes on A100: Korthikanti et al., arXiv 2205.05198, Table 5.
std::vector<Measurement> korthikanti(const std::string& folder);
/// Nemotron-4 15B on H100, two-way tensor parallel: NVIDIA's DGX Cloud benchmarking recipe.
std::vector<Measurement> nemotron4(const std::string& folder);
/// vTrain's ground truth on A100: one node, and up to 64 nodes.
std::vector<Measurement> vtrain_single(const std::string& folder);
std::vector<Measurement> vtrain_multi(const std::string& folder);

}  // namespace espalier::benchmarks
