#include "src/json/parse.hpp"

#include <gmock/gmock.h>

#include "src/core/error.hpp"

namespace espalier {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(ParseJson, NamesTheFileThatIsNone) {
    EXPECT_THAT([] { parse_json("{", "a.json"); },
                ThrowsMessage<UserError>(HasSubstr("a.json: not valid JSON")));
}

TEST(ParseJson, SaysThatUnicodeIsInvalid) {
    for (const char* text : {R"("\ud800")", R"("\udc00\ud800")", "\"\xff\""}) {
        EXPECT_THAT([&] { parse_json(text, "a.json"); },
                    ThrowsMessage<UserError>(HasSubstr("a.json: not valid JSON: invalid Unicode")))
            << text;
    }
}

TEST(ParseJson, RefusesAKeyThatOccursTwiceInOneObject) {
    EXPECT_NO_THROW(parse_json(R"([{"x": 1}, {"x": {"x": 2}}])", "a.json"));

    EXPECT_THAT([] { parse_json(R"({"x": 1, "y": {}, "x": 2})", "a.json"); },
                ThrowsMessage<UserError>(HasSubstr("'x' occurs twice")));
}

TEST(ParseJson, TakesTheLastOfTwoWhereTheyMayRepeat) {
    EXPECT_EQ(parse_json(R"({"x": 1, "x": 2})", "a.json", {.unique_keys = false})["x"], 2);
}

TEST(ParseJson, RefusesWhatIsNestedDeeperThanAllowed) {
    EXPECT_NO_THROW(parse_json("[[]]", "a.json", {.depth = 2}));

    EXPECT_THAT([] { parse_json("[[[]]]", "a.json", {.depth = 2}); },
                ThrowsMessage<UserError>(HasSubstr("nested deeper than 2")));
}

}  // namespace
}  // namespace espalier
