// What a run wrote into metrics.jsonl, and how far two runs' losses may be apart.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/jobs/program.hpp"
#include "tests/support/tolerance.hpp"

namespace espalier::test {

/// The lines of a run's folder, a line a step.
inline std::vector<nlohmann::json> metrics(const TinyWorld& world, const std::string& run) {
    std::vector<nlohmann::json> out;
    std::istringstream lines(world.read(run + "/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) out.push_back(nlohmann::json::parse(line));
    return out;
}
/// One key's values, of the steps that have it.
inline std::vector<double> metrics(const TinyWorld& world, const std::string& run, const char* key) {
    std::vector<double> out;
    for (const auto& line : metrics(world, run)) {
        if (line.contains(key)) out.push_back(line[key]);
    }
    return out;
}

inline std::vector<double> losses(const TinyWorld& world, const std::string& run) {
    return metrics(world, run, "loss");
}

/// To within `relative`; a divergence, a difference of larger logarithms, may itself be as small as 1e-2.
inline void expect_near(const std::vector<double>& got, const std::vector<double>& expected,
                        double relative) {
    ASSERT_FALSE(expected.empty());
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i)
        EXPECT_NEAR(got[i], expected[i], relative * (0.1 + expected[i])) << i;
}

}  // namespace espalier::test
