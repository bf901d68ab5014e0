// How a run of the program ended.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/process.hpp"

namespace espalier::test {

inline void expect_done(const ProcessResult& result) {
    ASSERT_EQ(result.exit_code, 0) << result.err;
}

/// With every one of `says` in its message.
inline void expect_refusal(const ProcessResult& result, const std::vector<std::string>& says,
                           int exit_code = 2) {
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    for (const auto& words : says) {
        EXPECT_NE(result.err.find(words), std::string::npos)
            << '"' << words << "\" is not in: " << result.err;
    }
}

}  // namespace espalier::test
