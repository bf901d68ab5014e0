// What cuDNN takes of attention on a device. That it computes the right thing is attention_test.cpp's table,
// which goes through attention() and so through cuDNN where that takes the case.
#include "kernels/cuda/attention_cudnn.hpp"

#include <cmath>

#include "src/core/has_cuda.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

constexpr int64_t batch = 2, seq = 293, tokens = batch * seq;

AttentionShape make(int64_t query_heads, int64_t kv_heads, int64_t head_dim, int64_t group,
                    int64_t first_in_group = 0, int64_t window = 0) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    return {batch, seq, query_heads, kv_heads, head_dim, group, first_in_group, scale, window, 0.0f};
}

using Taken = std::pair<bool, bool>;  // forward, backward
constexpr Taken both{true, true}, neither{false, false};

class AttentionByCudnn : public testing::Test {
protected:
    void SetUp() override {
        if constexpr (has_cuda) {
            if (test_device() == Device::cuda && cuda::cudnn::linked()) return;
        }
        GTEST_SKIP() << "not a device with cuDNN (builds that found cuDNN)";
    }

    /// Runs both passes on random inputs; dqkv_ is what the second one made.
    Taken run(const AttentionShape& s, DType dtype = DType::bf16, const Tensor& starts = {}) {
        if constexpr (has_cuda) {
            const int64_t columns = (s.query_heads + 2 * s.kv_heads) * s.head_dim;
            const int64_t width = s.query_heads * s.head_dim;
            const Tensor qkv = tensor_of(ctx_, random_values(tokens * columns, 1), {tokens, columns}, dtype);
            const Tensor d_o = tensor_of(ctx_, random_values(tokens * width, 2), {tokens, width}, dtype);
            Tensor o = ctx_.zeros({tokens, width}, dtype);
            Tensor lse = ctx_.zeros({s.batch, s.query_heads, s.seq}, DType::f32);
            dqkv_ = ctx_.zeros({tokens, columns}, dtype);
            const bool forward = cuda::cudnn::attention(ctx_, qkv, starts, s, o, lse);
            return {forward, cuda::cudnn::attention_backward(ctx_, d_o, qkv, starts, o, lse, s, dqkv_)};
        }
        return {};
    }

    Context ctx_{on_test_device()};
    Tensor dqkv_;
};

TEST_F(AttentionByCudnn, TakesTheHeadsOfModels) {
    EXPECT_EQ(run(make(9, 3, 64, 3)), both);           // SmolLM2
    EXPECT_EQ(run(make(8, 2, 128, 4)), both);          // Llama 3
    EXPECT_EQ(run(make(8, 2, 128, 4, 0, 100)), both);  // Mistral
    EXPECT_EQ(run(make(2, 1, 96, 6, 3)), both);        // a part of a group, as tensor parallel ranks have
    EXPECT_EQ(run(make(4, 2, 64, 3, 1)), both);        // parts of two groups
}

TEST_F(AttentionByCudnn, LeavesWhatItsGraphsCannotSay) {
    AttentionShape capped = make(4, 2, 64, 2);
    capped.soft_cap = 30;

    EXPECT_EQ(run(make(4, 2, 64, 2), DType::f32), neither);
    EXPECT_EQ(run(make(4, 2, 64, 2), DType::bf16, ctx_.zeros({tokens}, DType::i32)), neither);
    EXPECT_EQ(run(capped), neither);
    EXPECT_EQ(run(make(4, 2, 63, 2)), neither);
    EXPECT_EQ(run(make(4, 2, 264, 2)), neither);
    EXPECT_EQ(run(make(2, 2, 64, 2)), neither);  // nobody reads the second KV head
    EXPECT_EQ(run(make(4, 2, 64, 3)), neither);  // three read the first, one the second
    EXPECT_EQ(run(make(0, 1, 64, 2)), neither);
}

TEST_F(AttentionByCudnn, RepeatsBitForBit) {
    const AttentionShape shape = make(8, 2, 128, 4);
    ASSERT_EQ(run(shape), both);
    const Tensor once = dqkv_;

    ASSERT_EQ(run(shape), both);

    EXPECT_TRUE(same_bits(dqkv_, once));
}

}  // namespace
}  // namespace espalier::test
