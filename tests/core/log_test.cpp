#include "src/core/log.hpp"

#include <gmock/gmock.h>

#include "src/core/error.hpp"

namespace espalier {
namespace {

using testing::internal::CaptureStderr;
using testing::internal::CaptureStdout;
using testing::internal::GetCapturedStderr;
using testing::internal::GetCapturedStdout;

struct Told {
    std::string out, err;
};

/// What one message of every kind leaves on the two streams, neither of which is a terminal.
Told tell_all(const LogOptions& options) {
    CaptureStdout();
    CaptureStderr();
    const Log log(options);
    log.result("result {}", 1);
    log.debug("debug");
    log.info("info");
    log.warning("100 %");
    log.error("error");
    return {GetCapturedStdout(), GetCapturedStderr()};
}

TEST(Log, TellsResultsAndInformationPlainlyAndTheRestOnStandardError) {
    const auto told = tell_all({"espalier prune"});

    EXPECT_EQ(told.out, "result 1\ninfo\n");
    EXPECT_EQ(told.err, "espalier prune: warning: 100 %\nespalier prune: error\n");
}

TEST(Log, OfAnotherRankNamesItAndLeavesAllButErrorsToRankZero) {
    const auto told = tell_all({"espalier prune", 3, LogLevel::debug});

    EXPECT_EQ(told.out, "");
    EXPECT_EQ(told.err, "espalier prune [rank 3]: debug\nespalier prune [rank 3]: error\n");
}

TEST(Log, AtTheLevelOfErrorsStillTellsResults) {
    const auto told = tell_all({"espalier", 0, LogLevel::error});

    EXPECT_EQ(told.out, "result 1\n");
    EXPECT_EQ(told.err, "espalier: error\n");
}

TEST(Log, WhenQuietTellsWarningsAndErrorsAlone) {
    const auto told = tell_all({"espalier", 0, LogLevel::debug, Quiet::yes});

    EXPECT_EQ(told.out, "");
    EXPECT_EQ(told.err, "espalier: warning: 100 %\nespalier: error\n");
}

TEST(Log, ShowsWhatFilesSayWithoutDoingIt) {
    CaptureStderr();
    const Log log({"espalier"});

    log.error("{}: no tensor \"{}\"\n  look at it", "a\nb", "\x1b[31m\u00e9\xc2\x9b\x7f\xe2\x82\xff");
    log.warning("{}", std::string(5000, 'x'));
    log.error("{}\u00e9", std::string(3999, 'x'));

    EXPECT_EQ(GetCapturedStderr(),
              "espalier: a\\nb: no tensor \"\\x1b[31m\u00e9\\xc2\\x9b\\x7f\\xe2\\x82\\xff\"\n  look at it\n"
              "espalier: warning: " +
                  std::string(4000, 'x') + " ... and 1000 bytes more\nespalier: " + std::string(3999, 'x') +
                  " ... and 2 bytes more\n");
}

TEST(Log, ALevelThatDoesNotExistIsRefused) {
    EXPECT_EQ(log_level_from_string("warning"), LogLevel::warning);
    EXPECT_THROW(log_level_from_string("loud"), UserError);
}

}  // namespace
}  // namespace espalier
