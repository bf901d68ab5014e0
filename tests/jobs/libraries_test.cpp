// Which libraries a summary names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "src/core/has_cuda.hpp"
#include "tests/jobs/program.hpp"

namespace espalier::test {
namespace {

using testing::MatchesRegex;

TEST(Libraries, AreInTheSummaryAsBuiltAgainstAndAsFound) {
    const TinyWorld world;

    const auto result =
        espalier({"evaluate", "--model", world.path("model.h5"), "--data", world.path("tokens"), "--seq-len",
                  "16", "--summary", world.path("summary.json"), "--quiet"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto all = nlohmann::json::parse(world.read("summary.json")).at("libraries");

    EXPECT_EQ(all.contains("nccl"), has_cuda);
    for (const char* name : {"hdf5", "cuda_runtime", "cublaslt", "nccl"}) {
        if (!all.contains(name)) continue;
        for (const char* key : {"built", "found"})
            EXPECT_THAT(all[name].at(key).get<std::string>(), MatchesRegex("[0-9]+[.][0-9]+([.][0-9]+)?"))
                << name << " " << key;
    }
    EXPECT_EQ(all["hdf5"]["built"], all["hdf5"]["found"]);
    EXPECT_EQ(all["hdf5"]["parallel"], true);
}

}  // namespace
}  // namespace espalier::test
