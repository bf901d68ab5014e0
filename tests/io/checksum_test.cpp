#include <gtest/gtest.h>

#include <array>
#include <set>

#include "io/tensor_file.hpp"
#include "src/core/context.hpp"
#include "src/core/random.hpp"

namespace espalier::io {
namespace {

Context& context() {
    static Context ctx{ContextOptions{}};
    return ctx;
}

Tensor random_bits(const Shape& shape, DType dtype) {
    Tensor tensor = context().empty(shape, dtype);
    for (size_t i = 0; i < tensor.bytes(); ++i) tensor.raw()[i] = static_cast<std::byte>(mix64(i));
    return tensor;
}

class Checksum : public testing::TestWithParam<DType> {};

TEST_P(Checksum, OfBoxesThatCoverATensorSumToThatOfTheTensor) {
    const Shape shape{3, 70, 11};
    const Tensor tensor = random_bits(shape, GetParam());
    const Box all = whole(shape);

    uint64_t sum = 0;
    for (const int64_t row : {0, 50}) {
        for (const int64_t column : {0, 4, 5}) {
            const Shape count{3, row == 0 ? 50 : 20, column == 0 ? 4 : column == 4 ? 1 : 6};
            sum += checksum(shape, all, tensor, {{0, row, column}, count});
        }
    }

    EXPECT_EQ(sum, checksum(shape, all, tensor));
}

TEST_P(Checksum, ChangesWithEveryBitOfEveryElement) {
    const Shape shape{300};
    const Tensor tensor = random_bits(shape, GetParam());
    const uint64_t before = checksum(shape, whole(shape), tensor);

    for (size_t bit = 0; bit < tensor.bytes() * 8; ++bit) {
        tensor.raw()[bit / 8] ^= std::byte{1} << bit % 8;
        ASSERT_NE(checksum(shape, whole(shape), tensor), before) << "bit " << bit;
        tensor.raw()[bit / 8] ^= std::byte{1} << bit % 8;
    }
}

TEST_P(Checksum, ChangesWhenTwoElementsAreSwapped) {
    const Shape shape{600};
    const Tensor tensor = random_bits(shape, GetParam());
    const size_t size = size_of(GetParam());
    const uint64_t before = checksum(shape, whole(shape), tensor);
    const auto swap = [&](size_t i, size_t j) {
        std::swap_ranges(tensor.raw() + i * size, tensor.raw() + (i + 1) * size, tensor.raw() + j * size);
    };

    for (size_t i = 0; i < 599; ++i) {
        for (const size_t j : {i + 1, (i + 256) % 600}) {
            if (std::memcmp(tensor.raw() + i * size, tensor.raw() + j * size, size) == 0) continue;
            swap(i, j);
            ASSERT_NE(checksum(shape, whole(shape), tensor), before) << i << " and " << j;
            swap(i, j);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Of, Checksum,
                         testing::Values(DType::u8, DType::bf16, DType::i32, DType::f32, DType::f64),
                         [](const auto& test) { return std::string(to_string(test.param)); });

TEST(ChecksumValue, OfZerosTellsHowManyThereAre) {
    std::set<uint64_t> seen;

    for (int64_t n = 0; n < 600; ++n)
        seen.insert(checksum({n}, whole({n}), context().zeros({n}, DType::f32)));

    EXPECT_EQ(seen.size(), 600U);
}

// The weights belong to the file format: a change of them makes every file of old unreadable.
TEST(ChecksumValue, IsTheSumOfWeightedElements) {
    const Tensor tensor = context().zeros({300}, DType::i32);
    tensor.data<int32_t>()[299] = 41;
    uint64_t expected = 0;
    for (uint64_t i = 0; i < 300; ++i) {
        const uint64_t weight = (mix64(i / 256) | 1) * (mix64(~(i % 256)) | 1);
        expected += (i == 299 ? 42 : 1) * weight;
    }

    EXPECT_EQ(checksum({300}, whole({300}), tensor), expected);
}

}  // namespace
}  // namespace espalier::io
