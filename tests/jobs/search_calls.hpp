// How tests of searches call them, and what they read of them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"

namespace espalier::test {

inline std::vector<nlohmann::json> lines_of(const TinyWorld& world, const std::string& name) {
    std::vector<nlohmann::json> out;
    std::istringstream lines(world.read(name));
    for (std::string line; std::getline(lines, line);) out.push_back(nlohmann::json::parse(line));
    return out;
}

/// `more` added; of an option given before, the value is replaced.
inline std::vector<std::string> plus(std::vector<std::string> arguments,
                                     const std::vector<std::string>& more) {
    for (size_t i = 0; i < more.size(); i += 2) {
        const auto there = std::find(arguments.begin(), arguments.end(), more[i]);
        if (there == arguments.end()) {
            arguments.insert(arguments.end(), more.begin() + static_cast<std::ptrdiff_t>(i),
                             more.begin() + static_cast<std::ptrdiff_t>(std::min(i + 2, more.size())));
        } else {
            *(there + 1) = more[i + 1];
        }
    }
    return arguments;
}

/// What a short distillation and the search that does it have in common: 6 steps.
inline const std::vector<std::string> recipe{
    "--seq-len", "16",   "--global-batch", "4", "--micro-batch", "2",  "--lr", "1e-2",
    "--min-lr",  "1e-3", "--warmup-steps", "1", "--dtype",       "f32"};

/// Four shapes of model.h5, numbered 0 to 3: 4 or 3 layers of 24 or 16 channels.
inline std::vector<std::string> search_arguments(const TinyWorld& world, const std::string& out,
                                                 const std::vector<std::string>& more = {}) {
    return plus({"search", "--model", world.path("model.h5"), "--params-min", "1", "--layers", "3,4",
                 "--hidden", "16,24", "--heads", "6", "--ffn", "32", "--out", world.path(out), "--quiet"},
                more);
}

inline std::vector<std::string> ranking_arguments(const TinyWorld& world, const std::string& out,
                                                  const std::vector<std::string>& more = {}) {
    return search_arguments(world, out,
                            plus(plus({"--importance", world.path("scores.h5"), "--data",
                                       world.path("tokens"), "--valid", world.path("tokens")},
                                      recipe),
                                 more));
}

/// Rungs of 2, 3 and 6 steps for 4, 2 and 1 candidates.
inline std::vector<std::string> retraining_arguments(const TinyWorld& world, const std::string& out,
                                                     const std::vector<std::string>& more = {}) {
    return ranking_arguments(world, out, plus({"--retrain-tokens", "384"}, more));
}

inline nlohmann::json candidates(const TinyWorld& world, const std::string& out) {
    return nlohmann::json::parse(world.read(out)).at("candidates");
}

inline std::vector<int64_t> numbers(const nlohmann::json& candidates) {
    std::vector<int64_t> out;
    for (const auto& c : candidates) out.push_back(c.at("candidate"));
    return out;
}

}  // namespace espalier::test
