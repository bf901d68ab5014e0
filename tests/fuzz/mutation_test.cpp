// The fuzzers' short and repeatable brother: thousands of damaged files for every reader, with any compiler.
#include "tests/fuzz/mutation.hpp"

#include <gtest/gtest.h>

#include <optional>

#include "src/core/error.hpp"
#include "tests/fuzz/allocations.hpp"
#include "tests/fuzz/readers.hpp"
#include "tests/support/leaks.hpp"

namespace espalier::test {
namespace {

enum class Outcome { read, refused };

Outcome outcome_of(const Reader& reader, const std::string& bytes) {
    std::optional<IgnoreLeaks> ignored;
    if (reader.leaks == Leaks::of_a_library) ignored.emplace();
    try {
        reader.read(bytes);
        return Outcome::read;
    } catch (const UserError&) {
        return Outcome::refused;
    }
}

class Readers : public testing::TestWithParam<Reader> {};

TEST_P(Readers, ReadTheirSeeds) {
    for (const auto& seed : GetParam().seeds()) EXPECT_NO_THROW(GetParam().read(seed));
}

TEST_P(Readers, ReadOrRefuseEveryTruncation) {
    for (const auto& seed : GetParam().seeds()) {
        for (size_t size = 0; size < seed.size(); ++size)
            EXPECT_NO_THROW(outcome_of(GetParam(), seed.substr(0, size))) << size;
    }
}

TEST_P(Readers, ReadOrRefuseDamagedFilesWithinMemoryInProportionToTheFile) {
    constexpr uint64_t mutations = 4000;
    int counts[2] = {};
    for (const auto& seed : GetParam().seeds()) {
        for (uint64_t i = 0; i < mutations; ++i) {
            const auto bytes = mutate(seed, i);
            largest_allocation = 0;

            ASSERT_NO_THROW(++counts[static_cast<int>(outcome_of(GetParam(), bytes))]) << "mutation " << i;

            ASSERT_LE(largest_allocation, 64 * bytes.size() + GetParam().allowance) << "mutation " << i;
        }
    }
    EXPECT_GT(counts[static_cast<int>(Outcome::read)], 0);
    EXPECT_GT(counts[static_cast<int>(Outcome::refused)], 0);
}

INSTANTIATE_TEST_SUITE_P(Every, Readers, testing::ValuesIn(readers()),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace espalier::test
