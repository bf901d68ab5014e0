#include "src/json/field.hpp"

#include <gmock/gmock.h>

#include "src/core/error.hpp"

namespace espalier {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

const json document =
    json::parse(R"({"width": 8, "rope": {"base": 1e4, "kind": null}, "heads": [4, 2, "x"]})");

TEST(JsonField, NamesThePlaceAndTheValueThatIsNotWhatWasAskedFor) {
    const JsonField root(document, "a.json");

    EXPECT_EQ(root.place(), "a.json");
    EXPECT_THAT([&] { root.text("width"); },
                ThrowsMessage<UserError>("a.json: width is 8, expected a string"));
    EXPECT_THAT([&] { root.at("rope").integer("base"); },
                ThrowsMessage<UserError>(HasSubstr("a.json: rope.base is 10000.0, expected a whole number")));
    EXPECT_THAT([&] { root.at("heads").elements()[2].integer(); },
                ThrowsMessage<UserError>(HasSubstr("a.json: heads[2]")));
    EXPECT_THAT([&] { root.at("depth"); },
                ThrowsMessage<UserError>("a.json: the field \"depth\" is missing"));
    EXPECT_THAT([&] { root.at("width").at("x"); },
                ThrowsMessage<UserError>(HasSubstr("expected a JSON object")));
}

TEST(JsonField, ReadsOneNumberAndAListAlike) {
    const json ids = json::parse(R"({"one": 3, "some": [4, 2], "none": null, "word": "x", "words": ["x"]})");
    const JsonField root(ids, "a.json");

    EXPECT_THAT(root.integers("one"), ElementsAre(3));
    EXPECT_THAT(root.integers("some"), ElementsAre(4, 2));
    EXPECT_THAT(root.integers("none"), IsEmpty());
    EXPECT_THAT(root.integers("absent"), IsEmpty());
    EXPECT_THAT([&] { root.integers("word"); }, ThrowsMessage<UserError>(HasSubstr("a.json: word is")));
    EXPECT_THAT([&] { root.integers("words"); }, ThrowsMessage<UserError>(HasSubstr("a.json: words[0]")));
}

TEST(JsonField, TakesAnAbsentFieldAndANullForWhatItIsOtherwise) {
    const JsonField rope = JsonField(document, "a.json").at("rope");

    EXPECT_EQ(rope.integer("factor", 3), 3);
    EXPECT_EQ(rope.text("kind", "none"), "none");
    EXPECT_EQ(rope.number("base", 1), 1e4);
    EXPECT_THROW(rope.flag("base", true), UserError);
}

TEST(JsonField, ReadsANumberForAllLayersOrOneForEach) {
    const JsonField root(document, "a.json");
    const json lists = {{"ffn", {1, 2, 3}}};

    EXPECT_THAT(root.per_layer("width", 3), ElementsAre(8, 8, 8));
    EXPECT_THAT(JsonField(lists, "b.json").per_layer("ffn", 3), ElementsAre(1, 2, 3));
    EXPECT_THROW(JsonField(lists, "b.json").per_layer("ffn", 2), UserError);
    EXPECT_THROW(root.per_layer("heads", 3), UserError);
}

TEST(JsonField, RefusesFieldsThatNobodyAskedFor) {
    const JsonField rope = JsonField(document, "a.json").at("rope");
    rope.number("base");

    EXPECT_THAT([&] { rope.refuse_others("see the manual"); },
                ThrowsMessage<UserError>("a.json: rope: unknown key \"kind\"; see the manual"));

    rope.has("kind");
    EXPECT_NO_THROW(rope.refuse_others("see the manual"));
}

}  // namespace
}  // namespace espalier
