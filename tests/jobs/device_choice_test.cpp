#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "jobs/session/device.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::jobs {
namespace {

TEST(DeviceChoice, FindsNvidiasDriverByItsFiles) {
    for (const std::string file : {"proc/driver/nvidia/version", "dev/nvidia0"}) {
        const test::TemporaryFolder machine;
        EXPECT_FALSE(has_nvidia_driver(machine.path()));

        std::filesystem::create_directories((machine / file).parent_path());
        std::ofstream(machine / file) << "580\n";

        EXPECT_TRUE(has_nvidia_driver(machine.path())) << file;
    }
}

TEST(DeviceChoice, WarnsOfABuildWithoutBackEndWhereThereAreGpusAndNobodyAskedForTheCpu) {
    const auto warns = [](const std::string& device, const std::string& job, bool built, bool driver) {
        CommonOptions common;
        common.device = device;
        return !why_no_gpu(common, job, {built, driver}).empty();
    };

    EXPECT_TRUE(warns("auto", "distill", false, true));
    EXPECT_FALSE(warns("auto", "distill", true, true));
    EXPECT_FALSE(warns("auto", "distill", false, false));
    EXPECT_FALSE(warns("cpu", "distill", false, true));
    EXPECT_FALSE(warns("auto", "prune", false, true));
}

}  // namespace
}  // namespace espalier::jobs
