// Options of a job from a file, and the file that says what they are.
#include "jobs/session/options.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "src/core/error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::jobs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Words = std::vector<std::string>;

/// Those of a job like `evaluate`.
struct Evaluation {
    CommonOptions common;
    Options options{"evaluate", common};
    std::string model, key = "text";
    Words data;
    double lr = 0.1;
    bool append = false;

    Evaluation() {
        options.required("model", model, "");
        options.required("data", data, "");
        options.add("json-key", key, "");
        options.add("lr", lr, "");
        options.add("append", append, "");
        options.leave_open({"tp"});
    }
};

class OptionsFile : public testing::Test {
protected:
    void write(const std::string& content) const { std::ofstream(path_, std::ios::binary) << content; }
    /// A job with the options of the file and these.
    std::unique_ptr<Evaluation> read(Words words = {}) const {
        auto job = std::make_unique<Evaluation>();
        words.insert(words.end(), {"--config", path_});
        job->options.parse(words, false);
        return job;
    }
    void expect_refused(const std::string& content, const Words& says) const {
        write(content);
        try {
            read({"--model", "m", "--data", "d"});
            ADD_FAILURE() << content;
        } catch (const UserError& e) {
            for (const auto& word : says) EXPECT_THAT(e.what(), HasSubstr(word));
        }
    }

private:
    const test::TemporaryFolder folder_;
    const std::string path_ = (folder_ / "job.ini").string();
};

TEST_F(OptionsFile, ReadsBackWhateverAnOptionMayBe) {
    const Words odd{"",       "#",      "a # b", "a#b",         " both ends ", "two words", "\"quoted\"",
                    "half\"", "a;b",    "; c",   "back\\slash", "\n",          "\t",        "[init]",
                    "a = b",  "\u00e9", "0.30",  "a\\n",        "\u00a0"};
    for (const auto& value : odd) {
        if (value.empty()) continue;  // a required option's may not be
        Evaluation job;
        Words words{"--model=" + value, "--lr", "inf", "--append", "--data"};
        words.insert(words.end(), odd.begin(), odd.end());
        job.options.parse(words, false);
        write(job.options.config());

        const auto again = read();

        EXPECT_EQ(again->model, value);
        EXPECT_EQ(again->data, odd);
        EXPECT_EQ(again->lr, std::numeric_limits<double>::infinity());
        EXPECT_TRUE(again->append);
        EXPECT_EQ(again->options.config(), job.options.config());
    }
}

TEST(OptionsHelp, BeginsWithHowTheJobIsCalled) {
    CommonOptions common;

    const auto without_words = Options("evaluate", common).help();
    const auto with_words = Options("report", common, {"runs", "RUNDIR..."}).help();

    EXPECT_THAT(without_words, HasSubstr("\n\nusage: espalier evaluate [options]\n\n"));
    EXPECT_THAT(with_words, HasSubstr("\n\nusage: espalier report [options] RUNDIR...\n\n"));
}

TEST_F(OptionsFile, ChoicesThatWereLeftOpenStayOpen) {
    write("model = m\ndata = d\n");

    EXPECT_THAT(read()->options.config(), testing::Not(HasSubstr("tp = ")));
    EXPECT_THAT(read({"--tp", "1"})->options.config(), HasSubstr("tp = 1\n"));
}

TEST_F(OptionsFile, HasSectionsCommentsAndListsOnALine) {
    write(
        "\xef\xbb\xbfmodel = some model  # of all jobs\r\n; a comment\n\n  # another\n[ evaluate ] # ours\r\n"
        "data = 0.3 d \t 0.7 \"the rest\" # a blend\ndata = more\n[init]\nany "
        "line\n[evaluate]\njson-key=a=b\n");

    const auto job = read();

    EXPECT_EQ(job->model, "some model");
    EXPECT_THAT(job->data, ElementsAre("0.3", "d", "0.7", "the rest", "more"));
    EXPECT_EQ(job->key, "a=b");
}

TEST_F(OptionsFile, YieldsToTheCommandLine) {
    write("model = file\ndata = file\nlr = 1\n");

    const auto job = read({"--model", "line", "--data", "line"});

    EXPECT_EQ(job->model, "line");
    EXPECT_THAT(job->data, ElementsAre("line"));
    EXPECT_EQ(job->lr, 1);
}

TEST_F(OptionsFile, RefusesWhatItCannotMean) {
    for (const char* request : {"config", "help", "version", "dump-config"})
        expect_refused(std::string("\n") + request + " = x\n", {"job.ini, line 2", request, "command line"});
    expect_refused("lr 1\n", {"line 1", "lr 1", "key = value"});
    expect_refused("= 1\n", {"line 1", "key = value"});
    expect_refused("[evaluate\n", {"line 1", "[evaluate"});
    expect_refused("[evaluate] lr = 1\n", {"line 1", "[evaluate] lr = 1"});
    expect_refused("modle = x\n", {"line 1", "'modle'"});
    expect_refused("data =\n", {"line 1", "data has no value"});
    expect_refused("append = # yes\n", {"line 1", "append has no value"});
    expect_refused("model = \"a\" b\n", {"line 1", "\"a\" b", "quotes"});
    expect_refused("model = \"a\\q\"\n", {"line 1", "quotes"});
    expect_refused("model = \"a\n", {"line 1", "not closed"});
    expect_refused("model = \xe9\n", {"line 1", "UTF-8"});
    expect_refused("lr = much\n", {"job.ini", "much", "lr"});
    expect_refused("json-key =\n", {"--json-key is empty", "text"});
}

}  // namespace
}  // namespace espalier::jobs
