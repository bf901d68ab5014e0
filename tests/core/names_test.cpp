#include "src/core/names.hpp"

#include <gmock/gmock.h>

namespace espalier {
namespace {

using ::testing::StrEq;
using ::testing::ThrowsMessage;

enum class Fruit { apple, pear, quince };
constexpr std::array names{Named{Fruit::apple, "apple"}, Named{Fruit::pear, "pear"}};

TEST(Names, FindsEachValueByItsName) {
    for (const Fruit fruit : {Fruit::apple, Fruit::pear}) {
        EXPECT_EQ(value_of(names, name_of(names, fruit)), fruit);
        EXPECT_EQ(chosen(names, name_of(names, fruit), "--fruit"), fruit);
    }
}

TEST(Names, RefusesAValueThatTheTableLacks) {
    EXPECT_THROW(name_of(names, Fruit::quince), InternalError);
}

TEST(Names, TellsWhatThereIsToChoose) {
    EXPECT_EQ(value_of(names, "quince"), std::nullopt);
    EXPECT_THAT([] { chosen(names, "quince", "--fruit"); },
                ThrowsMessage<UserError>(StrEq("--fruit quince: choose apple or pear")));
}

TEST(Names, AreListedInTheirOrder) {
    constexpr std::array three{Named{2, "b"}, Named{3, "c"}, Named{1, "a"}};

    EXPECT_EQ(listed(names), "apple, pear");
    EXPECT_EQ(listed(three, " or "), "b, c or a");
}

}  // namespace
}  // namespace espalier
