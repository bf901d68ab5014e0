// Ranks that die at random moments: a few here, as many as ESPALIER_KILLS says by hand, layouts in turn.
// ESPALIER_KILLS_SEED chooses ranks and moments.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <iostream>

#include "src/core/random.hpp"
#include "tests/faults/long_run.hpp"

namespace espalier::test {
namespace {

uint64_t number_from(const char* variable, uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// An uninterrupted run to compare with.
struct Whole {
    std::vector<double> losses;
    std::string model;
    double seconds;
};

Whole run_whole(const TinyWorld& world, const std::vector<std::string>& layout) {
    const LongRun run(world, "whole" + layout.at(0) + layout.at(1), layout);
    const auto begin = std::chrono::steady_clock::now();
    const auto result = run.go();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return {run.losses(), run.model(), took.count()};
}

TEST(Kills, OfRandomRanksAtRandomMomentsDoNotShow) {
    const uint64_t kills = number_from("ESPALIER_KILLS", 6), seed = number_from("ESPALIER_KILLS_SEED", 1);
    const TinyWorld world;
    const std::vector<std::vector<std::string>> layouts{{"--tp", "2"}, {"--pp", "2"}, {"--tp", "1"}};
    std::vector<Whole> wholes;
    for (const auto& layout : layouts) wholes.push_back(run_whole(world, layout));
    uint64_t draws = 0, killed = 0, while_writing = 0, resumed = 0, runs = 0;

    while (killed < kills) {
        ASSERT_LE(runs, 10 * kills) << "signals do not find the ranks: " << killed << " kills";
        const size_t which = runs % layouts.size();
        const LongRun run(world, "run" + std::to_string(runs), layouts[which]);
        for (uint64_t starts = 0; !run.finished(); ++starts) {
            const double moment = uniform(seed, draws++) * wholes[which].seconds;
            const std::string rank = uniform(seed, draws++) < 0.5 ? "0" : "1";
            const auto result = run.go_signalled(std::to_string(moment), "KILL", rank);
            resumed += starts > 0 ? 1 : 0;
            if (result.out.empty()) {
                ASSERT_EQ(result.exit_code, 0) << "seed " << seed << ", draw " << draws << '\n' << result.err;
                continue;
            }
            // One that hits a rank on its way out changes nothing.
            if (result.exit_code == 0) {
                EXPECT_TRUE(run.finished()) << "seed " << seed << ", draw " << draws << '\n' << result.err;
                continue;
            }
            ++killed;
            while_writing += run.writes_checkpoint() ? 1 : 0;
        }
        ++runs;

        EXPECT_EQ(run.losses(), wholes[which].losses) << "seed " << seed << ", draw " << draws;
        EXPECT_EQ(run.model(), wholes[which].model) << "seed " << seed << ", draw " << draws;
    }
    std::cout << "seed " << seed << ": " << killed << " kills, " << while_writing
              << " while a checkpoint was written, " << resumed << " resumes, " << runs
              << " runs that ended like the uninterrupted ones\n";
}

}  // namespace
}  // namespace espalier::test
