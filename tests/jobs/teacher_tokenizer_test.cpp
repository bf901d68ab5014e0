// What a student learns is meant for its own tokens, so that its teacher must have the same.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

/// Models alike but for the tokenizers in them: mute.h5 has none, one has the small one; in swapped.h5 two
/// tokens have changed places, in renamed.h5 a special one has another name.
class TeacherTokenizer : public testing::Test {
protected:
    TeacherTokenizer() {
        json arch = json::parse(world_.read("arch.json")), swapped = small_tokenizer(), renamed = swapped;
        arch["vocab_size"] = 266;
        world_.write("mute.json", arch.dump());
        done({"init", "--arch", world_.path("mute.json"), "--out", world_.path("mute.h5")});
        done({"export", "--model", world_.path("mute.h5"), "--out", world_.path("hf")});
        std::swap(swapped["model"]["vocab"]["he"], swapped["model"]["vocab"]["in"]);
        renamed["model"]["vocab"].erase("<bos>");
        renamed["added_tokens"][0]["content"] = "<begin>";
        import_with(small_tokenizer(), "one.h5");
        import_with(swapped, "swapped.h5");
        import_with(renamed, "renamed.h5");
    }

    static void done(Words words) {
        words.emplace_back("--quiet");
        expect_done(espalier(words));
    }
    void make_cache(const std::string& teacher, const std::string& out) const {
        done({"teacher-cache", "--teacher", world_.path(teacher), "--data", world_.path("tokens"),
              "--samples", "4", "--seq-len", "16", "--top-k", "5", "--out", world_.path(out)});
    }
    /// One step with `teacher`: an option and its file.
    ProcessResult distill(const std::string& student, const char* option, const std::string& file,
                          int ranks = 1) const {
        return espalier({"distill", "--student", world_.path(student), option, world_.path(file), "--data",
                         world_.path("tokens"), "--tokens", "64", "--seq-len", "16", "--global-batch", "4",
                         "--top-k", "5", "--out", world_.path("run"), "--force", "--quiet"},
                        ranks);
    }

    const TinyWorld world_;

private:
    void import_with(const json& tokenizer, const std::string& out) const {
        world_.write("hf/tokenizer.json", tokenizer.dump());
        done({"import", "--from", world_.path("hf"), "--out", world_.path(out)});
    }
};

TEST_F(TeacherTokenizer, OfOtherIdsIsRefused) {
    make_cache("one.h5", "cache");

    expect_refusal(distill("swapped.h5", "--teacher", "one.h5", 2),
                   {"teacher and student differ in tokenizer"});
    expect_refusal(distill("swapped.h5", "--teacher-cache", "cache", 2),
                   {"its teacher's tokenizer and the student's give other ids to the same tokens"});
    EXPECT_FALSE(world_.exists("run"));
}

TEST_F(TeacherTokenizer, OfTheSameIdsOrNoneMayTeach) {
    make_cache("one.h5", "cache");
    make_cache("mute.h5", "mute-cache");

    for (const char* student : {"one.h5", "renamed.h5", "mute.h5"}) {
        EXPECT_EQ(distill(student, "--teacher", "one.h5").exit_code, 0) << student;
        EXPECT_EQ(distill(student, "--teacher-cache", "cache").exit_code, 0) << student;
    }
    EXPECT_EQ(distill("swapped.h5", "--teacher", "mute.h5").exit_code, 0);
    EXPECT_EQ(distill("swapped.h5", "--teacher-cache", "mute-cache").exit_code, 0) << "as one made before";
}

}  // namespace
}  // namespace espalier::test
