// The page of training runs, and what it refuses.
#include <gmock/gmock.h>

#include <filesystem>

#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"

namespace espalier::test {
namespace {

using testing::HasSubstr;
using testing::Not;

ProcessResult report(const TinyWorld& world, const std::vector<std::string>& runs) {
    std::vector<std::string> arguments{"report"};
    for (const auto& run : runs) arguments.push_back(world.path(run));
    arguments.insert(arguments.end(), {"--out", world.path("report.html"), "--quiet"});
    return espalier(arguments);
}

TEST(Report, DrawsTheRunsBesideEachOtherInOneFile) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "slow")).exit_code, 0);
    ASSERT_EQ(espalier(distill_arguments(world, "fast", {"--valid", world.path("tokens")})).exit_code, 0);

    const auto result = report(world, {"slow", "fast"});

    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto page = world.read("report.html");
    for (const char* part :
         {"Loss (the objective)", "Divergence from the teacher", "Loss on held-out text", "Gradient norm",
          "Tokens per second", "<title>slow, fast</title>", "temperature", "machine cpu", "over tokens"}) {
        EXPECT_THAT(page, HasSubstr(part));
    }
    // Nothing is fetched and nothing runs.
    for (const char* part : {"<script", "http:", "https:", "<link", "src="})
        EXPECT_THAT(page, Not(HasSubstr(part)));
}

TEST(Report, ShowsARunThatIsStillWritingAndValuesThatAreNotFinite) {
    const TinyWorld world;
    std::filesystem::create_directory(world.path("run"));
    world.write(
        "run/metrics.jsonl",
        "{\"step\":1,\"tokens\":64,\"loss\":2.5}\n{\"step\":2,\"tokens\":128,\"loss\":null}\n{\"step\":3");

    ASSERT_EQ(report(world, {"run"}).exit_code, 0);

    EXPECT_THAT(world.read("report.html"), HasSubstr("2.5000"));
}

TEST(Report, MayStandInTheFolderOfItsRunAndBeDrawnAnew) {
    const TinyWorld world;
    std::filesystem::create_directory(world.path("run"));
    world.write("run/metrics.jsonl", "{\"step\":1,\"tokens\":64,\"loss\":2.5}\n");
    for (int i = 0; i < 2; ++i)
        EXPECT_EQ(espalier({"report", world.path("run"), "--out", world.path("run/report.html"), "--force",
                            "--quiet"})
                      .exit_code,
                  0);
}

TEST(Report, DoesNotReplaceWhatIsNoPage) {
    const TinyWorld world;
    const std::string lines = "{\"step\":1,\"tokens\":64,\"loss\":2.5}\n";
    std::filesystem::create_directory(world.path("run"));
    world.write("run/metrics.jsonl", lines);

    const auto result =
        espalier({"report", world.path("run"), "--out", world.path("run/metrics.jsonl"), "--force"});

    expect_refusal(result, {"no page of HTML"});
    EXPECT_EQ(world.read("run/metrics.jsonl"), lines);
}

TEST(Report, EscapesWhatUsersWrote) {
    const TinyWorld world;
    std::filesystem::create_directory(world.path("<b>&run"));
    world.write("<b>&run/metrics.jsonl", "{\"step\":1,\"tokens\":64,\"loss\":2.5}\n");
    world.write("<b>&run/config.ini", "[train]\nmodel = <script>alert(\"1\")</script>\n");

    ASSERT_EQ(report(world, {"<b>&run"}).exit_code, 0);

    const auto page = world.read("report.html");
    EXPECT_THAT(page, HasSubstr("&lt;b&gt;&amp;run"));
    EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"));
    EXPECT_THAT(page, Not(HasSubstr("<script")));
    EXPECT_THAT(page, Not(HasSubstr("<b>")));
}

TEST(Report, RefusesFoldersWithoutARunAndRunsWithoutAStep) {
    const TinyWorld world;
    const auto expect_refused = [&](const std::string& run, const std::string& says) {
        const auto result = report(world, {run});
        expect_refusal(result, {says});
        EXPECT_FALSE(world.exists("report.html"));
    };
    std::filesystem::create_directory(world.path("run"));

    expect_refused("nowhere", "nowhere: no such folder");
    expect_refused("run", "no metrics.jsonl");
    world.write("run/metrics.jsonl", "");
    expect_refused("run", "holds no step");
    world.write("run/metrics.jsonl", "{\"step\":1,\"tokens\":64}\nnot json\n{\"step\":2}\n");
    expect_refused("run", "line 2");
}

}  // namespace
}  // namespace espalier::test
