#include "src/core/context.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace espalier {
namespace {

TEST(Context, GivesAlignedMemoryOfTheAskedShapeAndType) {
    Context ctx({.threads = 1});

    for (const int64_t n : {0, 1, 63, 64, 1000, 3 << 20}) {
        const Tensor x = ctx.empty({n, 2}, DType::bf16);

        EXPECT_EQ(x.shape(), (Shape{n, 2}));
        EXPECT_EQ(x.dtype(), DType::bf16);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(x.raw()) % 64, 0U);
    }
}

TEST(Context, ZeroesMemoryThatWasUsedBefore) {
    Context ctx({});
    std::ranges::fill(ctx.empty({100}, DType::f32).span<float>(), 7.0F);

    const Tensor x = ctx.zeros({100}, DType::f32);

    EXPECT_TRUE(std::ranges::all_of(x.span<float>(), [](float v) { return v == 0.0F; }));
}

#ifdef ESPALIER_DEBUG
TEST(Context, FillsFreshMemoryWithNaNInDebugBuilds) {
    Context ctx({});

    const Tensor x = ctx.empty({33}, DType::f32);

    EXPECT_TRUE(std::ranges::all_of(x.span<float>(), [](float v) { return std::isnan(v); }));
}
#endif

TEST(Context, ReusesABlockOnlyAfterItsLastHandleIsGone) {
    Context ctx({});
    Tensor first = ctx.empty({1000}, DType::f32);
    const std::byte* block = first.raw();
    Tensor part = first.slice(500, {10});

    first = {};
    const Tensor second = ctx.empty({1000}, DType::f32);
    EXPECT_NE(second.raw(), block);

    part = {};
    const Tensor third = ctx.empty({1000}, DType::f32);
    EXPECT_EQ(third.raw(), block);
}

TEST(Context, TakesNothingNewFromTheSystemForASecondStepOfTheSameShapes) {
    Context ctx({});
    const auto step = [&] {
        const Tensor a = ctx.empty({256, 64}, DType::f32);
        const Tensor b = ctx.empty({256, 64}, DType::bf16);
        const Tensor c = ctx.zeros({5000}, DType::f64);
    };

    step();
    const size_t after_one = ctx.pooled_bytes();
    step();

    EXPECT_GE(after_one, 256 * 64 * 4 + 256 * 64 * 2 + 5000 * 8U);
    EXPECT_EQ(ctx.pooled_bytes(), after_one);
}

TEST(Context, SharesABlockBetweenShapesThatDifferLittle) {
    Context ctx({});
    const std::byte* block = ctx.empty({1020}, DType::f32).raw();

    EXPECT_EQ(ctx.empty({1024}, DType::f32).raw(), block);
}

TEST(Context, WastesAtMostAnEighthOfALargeBlock) {
    for (const int64_t n : {100'003, 1'000'003, 7'777'777}) {
        Context ctx({});
        const Tensor x = ctx.empty({n}, DType::u8);

        EXPECT_LE(ctx.pooled_bytes(), static_cast<size_t>(n + n / 8));
    }
}

TEST(Context, TrimGivesBackOnlyWhatIsNotInUse) {
    Context ctx({});
    const Tensor used = ctx.zeros({1 << 16}, DType::u8);
    ctx.empty({1 << 20}, DType::u8);

    ctx.trim();

    EXPECT_EQ(ctx.pooled_bytes(), size_t{1} << 16);
    EXPECT_EQ(used.span<uint8_t>()[0], 0);
}

TEST(Context, MayEndBeforeItsTensorsDo) {
    Tensor x;
    {
        Context ctx({});
        x = ctx.zeros({10}, DType::f32);
    }

    x = {};  // AddressSanitizer is the judge

    EXPECT_FALSE(x);
}

TEST(Context, ExpectNamesWhatIsWrongWithAnArgument) {
    using testing::ThrowsMessage;
    Context ctx({});
    const Tensor x = ctx.zeros({2, 3}, DType::f32);
    const Tensor elsewhere(std::make_shared<std::byte>(), {}, DType::u8, Device::cuda);

    EXPECT_NO_THROW(expect(ctx, x, {2, 3}, DType::f32, "x"));
    EXPECT_THAT(
        [&] {
            expect(ctx, x, {3, 2}, "x");
        },
        ThrowsMessage<InternalError>("x: shape [2, 3], expected [3, 2]"));
    EXPECT_THAT(
        [&] {
            expect(ctx, x, {2, 3}, DType::bf16, "x");
        },
        ThrowsMessage<InternalError>("x: f32, expected bf16"));
    EXPECT_THAT([&] { expect_here(ctx, elsewhere, "x"); },
                ThrowsMessage<InternalError>("x: on the device, expected on the host"));
}

TEST(Context, SetsTheThreadsOfThisRank) {
    const Context ctx({.threads = 2});

    EXPECT_EQ(ctx.threads(), 2);
    EXPECT_EQ(omp_get_max_threads(), 2);
}

TEST(Context, MakesAResourceOnceAndKeepsItApartFromOtherTypes) {
    struct Kernels {
        explicit Kernels(Context& c) : context(&c) {}
        Context* context;
        int used = 0;
    };
    struct OtherKernels : Kernels {
        using Kernels::Kernels;
    };
    Context ctx({});

    ctx.resource<Kernels>().used = 5;

    EXPECT_EQ(ctx.resource<Kernels>().used, 5);
    EXPECT_EQ(ctx.resource<Kernels>().context, &ctx);
    EXPECT_EQ(ctx.resource<OtherKernels>().used, 0);
}

}  // namespace
}  // namespace espalier
