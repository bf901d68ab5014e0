#include "benchmarks/planner/table.hpp"

#include <gtest/gtest.h>

namespace espalier::benchmarks {
namespace {

const std::string table =
    "| run | measured s | error |\n"
    "| 16 GPUs | 2.66 | +0.0 % |\n"
    "constants: node.latency 1.273e-05; launch_seconds 4.6e-05;\n";

std::string with(const std::string& from, const std::string& to) {
    std::string out = table;
    return out.replace(out.find(from), from.size(), to);
}

TEST(PlannerTable, TakesTheSameTableAndLastDigitsOneApart) {
    EXPECT_EQ(first_difference(table, table), "");
    EXPECT_EQ(first_difference(with("2.66", "2.67"), table), "");
    EXPECT_EQ(first_difference(with("+0.0", "-0.0"), table), "");
    EXPECT_EQ(first_difference(with("+0.0", "-0.1"), table), "");
    EXPECT_EQ(first_difference(with("1.273e-05", "1.274e-05"), table), "");
    EXPECT_EQ(first_difference(with("4.6e-05", "4.601e-05"), table), "");
}

TEST(PlannerTable, SeesOtherNumbersWordsAndLengths) {
    EXPECT_EQ(first_difference(with("2.66", "2.68"), table),
              "line 2:\n  now       | 16 GPUs | 2.68 | +0.0 % |\n  committed | 16 GPUs | 2.66 | +0.0 % |");
    EXPECT_NE(first_difference(with("1.273e-05", "1.275e-05"), table), "");
    EXPECT_NE(first_difference(with("1.273e-05", "1.273e-06"), table), "");
    EXPECT_NE(first_difference(with("16 GPUs", "16 CPUs"), table), "");
    EXPECT_NE(first_difference(with("16 GPUs", "17 GPUs"), table), "");
    EXPECT_NE(first_difference(with("4.6e-05", "5e-05"), table), "");
    EXPECT_NE(first_difference(with("+0.0", "none"), table), "");
    EXPECT_NE(first_difference(with("error", "the error"), table), "");
    EXPECT_NE(first_difference(table + "more\n", table), "");
    EXPECT_NE(first_difference(table, table + "more\n"), "");
}

}  // namespace
}  // namespace espalier::benchmarks
