// What users get wrong: exit code 2, a message that names the trouble and the way out, and nothing left
// behind.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"

namespace espalier::test {

/// One tiny world for all tests of a suite.
class BadInput : public testing::Test {
protected:
    static void SetUpTestSuite() { world_ = std::make_unique<TinyWorld>(); }
    static void TearDownTestSuite() { world_.reset(); }
    static TinyWorld& world() { return *world_; }

    /// Runs, expects exit code 2 with every word of `says` in the message, and no new file.
    static void expect_refused(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& says, int ranks = 1) {
        const auto before = world().tree();

        const auto result = espalier(arguments, ranks);

        expect_refusal(result, says);
        EXPECT_EQ(world().tree(), before);
    }
    static std::string path(const std::string& name) { return world().path(name); }

private:
    static inline std::unique_ptr<TinyWorld> world_;
};

}  // namespace espalier::test
