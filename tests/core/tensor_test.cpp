#include "src/core/tensor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "src/core/box.hpp"
#include "src/core/context.hpp"

namespace espalier {
namespace {

using testing::ElementsAre;
using testing::ThrowsMessage;

class TensorTest : public testing::Test {
protected:
    /// 0, 1, 2, ... in this shape.
    Tensor counting(Shape shape) {
        Tensor x = ctx_.empty(std::move(shape), DType::f32);
        const auto values = x.span<float>();
        std::iota(values.begin(), values.end(), 0.0F);
        return x;
    }

    Context ctx_{{}};
};

TEST(ElementCount, IsOneForNoAxesAndZeroForAnEmptyAxis) {
    EXPECT_EQ(element_count({}), 1);
    EXPECT_EQ(element_count({3, 0, 5}), 0);
    EXPECT_EQ(element_count({3, 4, 5}), 60);
}

TEST(ShapeToString, ListsTheAxes) {
    EXPECT_EQ(to_string(Shape{2, 3}), "[2, 3]");
    EXPECT_EQ(to_string(Shape{}), "[]");
}

TEST_F(TensorTest, IsFalseUntilItHasMemory) {
    EXPECT_FALSE(Tensor());
    EXPECT_TRUE(counting({0, 4}));
}

TEST_F(TensorTest, CopiesShareTheirElements) {
    const Tensor x = counting({4});
    const Tensor copy = x;

    copy.span<float>()[2] = 9;

    EXPECT_THAT(x.span<float>(), ElementsAre(0, 1, 9, 3));
}

TEST_F(TensorTest, KnowsItsSizeInBytes) {
    EXPECT_EQ(counting({3, 5}).bytes(), 60U);
    EXPECT_EQ(ctx_.empty({3, 5}, DType::bf16).bytes(), 30U);
}

TEST_F(TensorTest, GivesItsShapeAsThatManyNumbersOrRefuses) {
    const auto [rows, n] = counting({2, 3}).dims<2>();

    EXPECT_EQ(rows, 2);
    EXPECT_EQ(n, 3);
    EXPECT_THAT(
        [this] {
            counting({2, 3}).dims<3>();
        },
        ThrowsMessage<InternalError>("expected 3 axes, got [2, 3]"));
}

TEST_F(TensorTest, RefusesItsElementsAsAnotherType) {
    EXPECT_THAT([this] { counting({2}).data<bfloat16>(); },
                ThrowsMessage<InternalError>("tensor holds f32, asked for bf16"));
}

TEST_F(TensorTest, ViewsTheSameElementsInAnotherShape) {
    const Tensor x = counting({2, 6});
    const Tensor view = x.view({3, 4});

    EXPECT_EQ(view.shape(), (Shape{3, 4}));
    EXPECT_EQ(view.raw(), x.raw());
    EXPECT_THAT([&] { x.view({5}); }, ThrowsMessage<InternalError>("cannot view [2, 6] as [5]"));
}

TEST_F(TensorTest, SlicesTheFlattenedElements) {
    const Tensor x = counting({3, 4});

    EXPECT_THAT(x.slice(5, {2, 2}).span<float>(), ElementsAre(5, 6, 7, 8));
    EXPECT_EQ(x.slice(12, {0}).size(), 0);
    EXPECT_THAT([&] { x.slice(9, {4}); }, ThrowsMessage<InternalError>("slice [4] at 9 leaves [3, 4]"));
    EXPECT_THROW(x.slice(-1, {2}), InternalError);
}

TEST_F(TensorTest, TakesRowsOfItsFirstAxis) {
    const Tensor x = counting({4, 2});

    EXPECT_THAT(x.rows(1, 2).span<float>(), ElementsAre(2, 3, 4, 5));
    EXPECT_EQ(x.rows(4, 0).shape(), (Shape{0, 2}));
    EXPECT_EQ(counting({0, 2}).rows(0, 0).shape(), (Shape{0, 2}));
    EXPECT_THROW(x.rows(3, 2), InternalError);
}

TEST_F(TensorTest, KnowsWhereARowAndAnElementBegin) {
    const Tensor x = counting({4, 2, 3});

    EXPECT_EQ(x.row_elements(), 6);
    EXPECT_EQ(x.at(7), x.rows(1, 1).raw() + sizeof(float));
    EXPECT_EQ(counting({0, 2, 3}).row_elements(), 6);
    EXPECT_EQ(counting({4}).row_elements(), 1);
}

TEST_F(TensorTest, ASliceKeepsTheMemoryAlive) {
    Tensor part;
    { part = counting({100}).slice(90, {3}); }
    counting({100}).span<float>()[90] = -1;  // another block: the first is still held

    EXPECT_THAT(part.span<float>(), ElementsAre(90, 91, 92));
}

TEST_F(TensorTest, ExpectShapeNamesWhatIsWrong) {
    EXPECT_NO_THROW(expect_shape(counting({2, 3}), {2, 3}, "x"));
    EXPECT_THAT(
        [this] {
            expect_shape(counting({2, 3}), {3, 2}, "weight");
        },
        ThrowsMessage<InternalError>("weight: shape [2, 3], expected [3, 2]"));
}

TEST_F(TensorTest, ExpectDtypeNamesWhatIsWrong) {
    EXPECT_NO_THROW(expect_dtype(counting({1}), DType::f32, "x"));
    EXPECT_THAT([this] { expect_dtype(counting({1}), DType::bf16, "y"); },
                ThrowsMessage<InternalError>("y: f32, expected bf16"));
}

TEST(VisitFloat, CallsWithTheElementTypeAndRefusesIntegers) {
    size_t size = 0;
    const auto note_size = [&](auto value) { size = sizeof(value); };

    visit_float(DType::f32, note_size);
    EXPECT_EQ(size, sizeof(float));
    visit_float(DType::bf16, note_size);
    EXPECT_EQ(size, sizeof(bfloat16));
    EXPECT_THROW(visit_float(DType::i32, note_size), InternalError);
}

TEST(Box, OfTheWholeBeginsAtZeroAndHoldsEveryElement) {
    const Box box = whole({2, 3});

    EXPECT_EQ(box.offset, (Shape{0, 0}));
    EXPECT_EQ(box.count, (Shape{2, 3}));
    EXPECT_EQ(box.size(), 6);
}

}  // namespace
}  // namespace espalier
