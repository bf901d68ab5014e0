#include "src/core/dtype.hpp"

#include <gtest/gtest.h>

#include "src/core/error.hpp"

namespace espalier {
namespace {

TEST(DType, IsFoundAgainByItsName) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::i32, DType::f64, DType::u8}) {
        EXPECT_EQ(dtype_from_string(to_string(dtype)), dtype);
    }
}

TEST(DType, HasTheSizeOfItsElementType) {
    EXPECT_EQ(size_of(dtype_of<float>::value), sizeof(float));
    EXPECT_EQ(size_of(dtype_of<bfloat16>::value), sizeof(bfloat16));
    EXPECT_EQ(size_of(dtype_of<int32_t>::value), sizeof(int32_t));
    EXPECT_EQ(size_of(dtype_of<double>::value), sizeof(double));
    EXPECT_EQ(size_of(dtype_of<uint8_t>::value), sizeof(uint8_t));
}

TEST(DType, IsNothingForAnUnknownName) {
    EXPECT_EQ(dtype_from_string("f16"), std::nullopt);
    EXPECT_EQ(dtype_from_string(""), std::nullopt);
}

TEST(DType, RefusesAValueOutsideItsRange) {
    EXPECT_THROW(size_of(static_cast<DType>(99)), InternalError);
}

}  // namespace
}  // namespace espalier
