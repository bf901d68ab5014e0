#include "src/data/document_masks.hpp"

#include <gmock/gmock.h>

namespace espalier::data {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Ids = std::vector<int32_t>;

constexpr int32_t eod = 9;

TEST(DocumentStarts, AreAfterTheEndsAndAtTheBeginningOfEachSequence) {
    const Ids ids{1, 2, eod, 3, 4, 5, 6, eod, eod, 7};

    EXPECT_THAT(document_starts(ids, 5, eod), ElementsAre(0, 0, 0, 3, 3, 0, 0, 0, 3, 4));
    EXPECT_THAT(document_starts(ids, 10, eod), ElementsAre(0, 0, 0, 3, 3, 3, 3, 3, 8, 9));
}

TEST(DocumentStarts, AnEndThatIsTheLastOfASequenceStartsNothing) {
    EXPECT_THAT(document_starts(Ids{1, eod, 2, 3}, 2, eod), ElementsAre(0, 0, 0, 0));
    EXPECT_THAT(document_starts(Ids{eod, eod}, 1, eod), ElementsAre(0, 0));
    EXPECT_THAT(document_starts({}, 4, eod), IsEmpty());
}

TEST(MaskEnds, TakesWhatIsPredictedFromAnEndAndLeavesThePredictionOfOne) {
    Ids labels{2, eod, 3, eod, 5};

    mask_ends(Ids{1, 2, eod, 3, eod}, eod, labels);

    EXPECT_THAT(labels, ElementsAre(2, eod, -1, eod, -1));
}

}  // namespace
}  // namespace espalier::data
