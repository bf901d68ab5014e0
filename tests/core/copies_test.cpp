// Copies between host and device, which run while the host goes on.
#include <gtest/gtest.h>

#include "kernels/elementwise.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/device.hpp"

namespace espalier::test {
namespace {

Tensor filled_on_host(Context& ctx, int64_t n, float value) {
    Tensor host = ctx.empty_on_host({n}, DType::f32);
    std::ranges::fill(host.span<float>(), value);
    return host;
}

TEST(Copies, KeepWhatTheySendUntilItIsThereThoughItsMemoryIsAskedForAtOnce) {
    Context ctx(on_test_device());
    std::vector<Tensor> sent;

    for (int i = 0; i < 10; ++i) sent.push_back(ctx.to_device(filled_on_host(ctx, 1000, float(i))));

    for (int i = 0; i < 10; ++i) EXPECT_TRUE(near_all(sent[size_t(i)], Values(1000, i), {0, 0}));
}

TEST(Copies, GiveTheirMemoryBackOnceTheyAreDone) {
    Context ctx(on_test_device());
    if (!ctx.on_gpu()) GTEST_SKIP() << "a processor copies nothing to itself";
    Tensor host = filled_on_host(ctx, 1000, 1);
    const std::byte* const block = host.raw();
    const Tensor x = ctx.to_device(std::exchange(host, {}));

    ctx.wait();

    EXPECT_EQ(ctx.empty_on_host({1000}, DType::f32).raw(), block);
}

TEST(Copies, BegunBesideTheStepSeeWhatWasThereThen) {
    Context ctx(on_test_device());
    Tensor x = ctx.empty({1000}, DType::f32), host = ctx.empty_on_host({1000}, DType::f32);
    fill(ctx, 1, x);

    const PendingRead read = ctx.begin_read(x, host);
    ctx.after_reads();
    fill(ctx, 2, x);
    ctx.wait();
    read.wait();

    EXPECT_TRUE(read.done());
    EXPECT_TRUE(near_all(host, Values(1000, 1), {0, 0}));
    EXPECT_TRUE(near_all(x, Values(1000, 2), {0, 0}));
}

TEST(Copies, MayBeUnderWayWhenTheirContextEnds) {
    const Tensor kept = [] {
        Context ctx(on_test_device());
        return ctx.to_device(filled_on_host(ctx, 1000, 1));
    }();

    EXPECT_EQ(kept.size(), 1000);
}

}  // namespace
}  // namespace espalier::test
