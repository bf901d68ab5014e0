#include "src/data/split.hpp"

#include <gmock/gmock.h>

#include "src/core/error.hpp"
#include "tests/data/counting.hpp"

namespace espalier::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<Range> parts(const char* text, int64_t count) {
    const Split split(text);
    return {split.documents(Part::train, count), split.documents(Part::valid, count),
            split.documents(Part::test, count)};
}

// Megatron-LM: part i is [round(b_i n), round(b_{i+1} n)), where b are the sums of the shares before, each
// divided by the sum of all, and Python rounds a half to the even number.
TEST(Split, CutsWhereMegatronRounds) {
    // 0.969 x 1000 and 0.999 x 1000.
    EXPECT_THAT(parts("969,30,1", 1000), ElementsAre(Range{0, 969}, Range{969, 999}, Range{999, 1000}));
    // Of 11: 0.969 x 11 = 10.7 is 11 already, and nothing is held out.
    EXPECT_THAT(parts("969, 30, 1", 11), ElementsAre(Range{0, 11}, Range{11, 11}, Range{11, 11}));
    // 0.77 x 20 = 15.4 and 0.97 x 20 = 19.4.
    EXPECT_THAT(parts("77,20,3", 20), ElementsAre(Range{0, 15}, Range{15, 19}, Range{19, 20}));
    // 0.125 x 20 = 2.5, to even 2; 0.375 x 20 = 7.5, to even 8.
    EXPECT_THAT(parts("125,250,625", 20), ElementsAre(Range{0, 2}, Range{2, 8}, Range{8, 20}));
    // Shares that are left out are 0: 0.9 x 20 = 18.
    EXPECT_THAT(parts("90,10", 20), ElementsAre(Range{0, 18}, Range{18, 20}, Range{20, 20}));
    EXPECT_THAT(parts("0,1,0", 4), ElementsAre(Range{0, 0}, Range{0, 4}, Range{4, 4}));
}

TEST(Split, OfNothingTrainsOnAll) {
    for (const char* text : {"", "1", "0.3,0,0"})
        EXPECT_THAT(parts(text, 7), ElementsAre(Range{0, 7}, Range{7, 7}, Range{7, 7})) << text;
    EXPECT_EQ(Split("").share(Part::train), 1);
    EXPECT_EQ(Split("3,1,0").share(Part::train), 0.75);
    EXPECT_EQ(Split("3,1,0").share(Part::valid), 0.25);
}

TEST(Split, RefusesWhatAreNoShares) {
    for (const char* text : {",", "9,", "9,,1", "9;1", "9 1", "-9,10,1", "nan,1,1", "inf,1,1", "9,1,0,0"})
        EXPECT_THAT([&] { Split{text}; }, ThrowsMessage<UserError>(HasSubstr(std::string("--split ") + text)))
            << text;
    EXPECT_THAT([] { Split("0,0,0"); }, ThrowsMessage<UserError>(HasSubstr("at least one that is positive")));
}

TEST(Split, GivesEachSourceItsDocuments) {
    const auto five = std::make_shared<Counting>(std::vector<int32_t>{3, 1, 2, 0, 4});

    // 0.4 x 5 = 2 and 0.8 x 5 = 4.
    const auto valid = part_of({{five, 2.0, "a"}}, Split("2,2,1"), Part::valid);

    ASSERT_EQ(valid.size(), 1U);
    EXPECT_EQ(valid[0].weight, 2.0);
    EXPECT_EQ(valid[0].name, "the valid part of a (2 of 5 documents)");
    ASSERT_EQ(valid[0].documents->count(), 2);
    EXPECT_EQ(valid[0].documents->length(1), 0);
    std::vector<int32_t> tokens(1);
    valid[0].documents->read(0, 1, tokens);
    EXPECT_THAT(tokens, ElementsAre(5));  // the second token of the third document
}

TEST(Split, LeavesSourcesAloneOfWhichAllTrains) {
    const auto five = std::make_shared<Counting>(std::vector<int32_t>{3, 1, 2, 0, 4});

    const auto train = part_of({{five, 2.0, "a"}}, Split(), Part::train);

    EXPECT_EQ(train[0].documents, five);
    EXPECT_EQ(train[0].name, "a");
}

TEST(Split, RefusesAnEmptyPartToTrainOn) {
    const Source two{std::make_shared<Counting>(std::vector<int32_t>{3, 4}), std::nullopt, "a"};

    // 0.2 x 2 = 0.4 is 0.
    EXPECT_THAT([&] { part_of({two}, Split("1,4"), Part::train); },
                ThrowsMessage<UserError>(HasSubstr("none of the 2 documents of a would train")));
    EXPECT_EQ(part_of({two}, Split("1,4"), Part::valid)[0].documents->count(), 2);
}

TEST(Split, KnowsItsPartsByName) {
    EXPECT_EQ(part_from_string("valid", "--split-part"), Part::valid);
    EXPECT_THAT([] { part_from_string("dev", "--split-part"); },
                ThrowsMessage<UserError>(HasSubstr("--split-part dev: choose train, valid or test")));
}

}  // namespace
}  // namespace espalier::data
