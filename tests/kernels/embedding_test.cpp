#include "kernels/embedding.hpp"

#include "kernels/reference/embedding.hpp"
#include "src/core/random.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

class Embedding : public testing::TestWithParam<std::tuple<EmbeddingCase, DType>> {
protected:
    Embedding() {
        const double reach = static_cast<double>(case_.first_id + 2 * case_.vocab + 3);
        for (int64_t i = 0; i < case_.tokens; ++i) {
            ids_.push_back(i % 32 == 0 ? static_cast<int32_t>(case_.first_id)  // one id that comes often
                                       : static_cast<int32_t>(uniform(1, static_cast<uint64_t>(i)) * reach));
        }
    }

    Tensor ids(Context& ctx) const {
        return tensor_of(ctx, Values(ids_.begin(), ids_.end()), {case_.tokens}, DType::i32);
    }

    EmbeddingCase case_ = std::get<0>(GetParam());
    DType dtype_ = std::get<1>(GetParam());
    Context ctx_{on_test_device(2)};
    std::vector<int32_t> ids_;
};

TEST_P(Embedding, CopiesTheRowsItHoldsAndGivesZeroForTheOthers) {
    const Values table = rounded_to(dtype_, random_values(case_.vocab * case_.n, 2));
    Tensor out = ctx_.empty({case_.tokens, case_.n}, dtype_);

    embed(ctx_, ids(ctx_), tensor_of(ctx_, table, {case_.vocab, case_.n}, dtype_), case_.first_id, out);

    EXPECT_TRUE(near_all(out, reference::embed(ids_, table, case_.n, case_.first_id), {0, 0}));
}

TEST_P(Embedding, BackwardAddsUpEveryOccurrenceOfAnId) {
    const Values dout = rounded_to(dtype_, random_values(case_.tokens * case_.n, 2));
    const Values before = rounded_to(DType::f32, random_values(case_.vocab * case_.n, 3));
    Tensor dtable = tensor_of(ctx_, before, {case_.vocab, case_.n}, DType::f32);

    embed_backward(ctx_, tensor_of(ctx_, dout, {case_.tokens, case_.n}, dtype_), ids(ctx_), case_.first_id,
                   dtable);

    const Values gradient = reference::embed_backward(dout, ids_, case_.vocab, case_.n, case_.first_id);
    EXPECT_TRUE(near_all(dtable, sum_of(before, gradient), tolerance(test_device(), DType::f32)));
}

TEST_P(Embedding, BackwardIsTheSameForAnyThreadCount) {
    const Values dout = random_values(case_.tokens * case_.n, 2);
    const auto gradient = [&](int threads) {
        Context ctx(on_test_device(threads));
        Tensor dtable = ctx.zeros({case_.vocab, case_.n}, DType::f32);
        embed_backward(ctx, tensor_of(ctx, dout, {case_.tokens, case_.n}, dtype_), ids(ctx), case_.first_id,
                       dtable);
        return dtable;
    };

    const Tensor alone = gradient(1);

    EXPECT_TRUE(same_bits(gradient(2), alone));
    EXPECT_TRUE(same_bits(gradient(7), alone));
}

class EmbeddingReference : public Embedding {};

TEST_P(EmbeddingReference, GradientIsAFiniteDifference) {
    const Values table = random_values(case_.vocab * case_.n, 1),
                 dout = random_values(case_.tokens * case_.n, 2);

    const Values dtable = reference::embed_backward(dout, ids_, case_.vocab, case_.n, case_.first_id);

    const auto loss = [&](const Values& at) {
        return inner_product(dout, reference::embed(ids_, at, case_.n, case_.first_id));
    };
    EXPECT_TRUE(near_all(dtable, numeric_gradient(loss, table), numeric_tolerance));
}

INSTANTIATE_TEST_SUITE_P(Cases, Embedding,
                         testing::Combine(testing::ValuesIn(up_to(tested_size, embedding_cases)),
                                          testing::ValuesIn(float_types)),
                         parameter_name);
INSTANTIATE_TEST_SUITE_P(SmallCases, EmbeddingReference,
                         testing::Combine(testing::ValuesIn(up_to(small_size, embedding_cases)),
                                          testing::Values(DType::f32)),
                         parameter_name);

}  // namespace
}  // namespace espalier::test
