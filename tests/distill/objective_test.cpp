// The head of a step, of every loss, over a vocabulary that is split among ranks and over blocks of tokens.
#include <gtest/gtest.h>

#include <cctype>
#include <optional>

#include "src/distill/objective.hpp"
#include "src/model/logits.hpp"
#include "tests/model/tiny_models.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/device.hpp"
#include "tests/support/tolerance.hpp"

namespace espalier::distill {
namespace {

using test::Values;

/// Both models' heads, of which this rank has its part of the vocabulary, and hidden states for them.
struct Heads {
    Heads(Context& c, const comm::Topology& topology, int64_t tokens)
        : ctx(c),
          student(ctx, test::tiny_llama(), topology, DType::f32, model::Gradients::keep),
          teacher(ctx, teacher_of(test::tiny_llama()), topology, DType::f32, model::Gradients::none) {
        test::randomise(student, 1);
        test::randomise(teacher, 2);
        student_hidden = hidden_of(student, tokens, 3);
        teacher_hidden = hidden_of(teacher, tokens, 4);
        auto ids = test::random_ids(tokens, student.architecture().vocab, 5);
        for (size_t i = 0; i < ids.size(); i += 7) ids[i] = -1;  // does not count
        labels = test::labels_of(ctx, ids);
    }
    static model::Architecture teacher_of(model::Architecture a) {
        a.hidden += 5;
        return a;
    }
    Tensor hidden_of(const model::Transformer& model, int64_t tokens, uint64_t seed) {
        const int64_t width = model.architecture().hidden;
        return test::tensor_of(ctx, test::random_values(tokens * width, seed), {tokens, width}, DType::f32);
    }

    Context& ctx;
    model::Transformer student, teacher;
    Tensor student_hidden, teacher_hidden, labels;
};

/// Of the tokens `part`, added to the head's gradient. Returns d_hidden, whole.
Values backward(Heads& heads, Objective& objective, Range part) {
    const auto rows = [&](const Tensor& x) { return x.rows(part.begin, part.size()); };
    Tensor d_hidden =
        objective.backward(heads.ctx, heads.student, rows(heads.student_hidden),
                           live_teacher(heads.teacher, rows(heads.teacher_hidden)), rows(heads.labels), 0.1);
    heads.student.tensor().all_reduce(heads.ctx, d_hidden);
    return test::values_of(d_hidden);
}

/// Of each loss.
class Objectives : public testing::TestWithParam<const char*> {
protected:
    void SetUp() override {
        int rank = 0, ranks = 1;
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        MPI_Comm_size(MPI_COMM_WORLD, &ranks);
        const auto options = test::on_test_device_of_rank(rank, ranks);
        if (!options) GTEST_SKIP() << "needs " << ranks << " GPUs";
        ctx.emplace(*options);
        split = comm::make_topology(ranks, 1);
        comm::attach(split, *ctx, comm::Traffic::distillation);
    }

    void expect_same_sums(const LossSums& got, const LossSums& expected) const {
        EXPECT_EQ(got.tokens, expected.tokens);
        EXPECT_NEAR(got.divergence, expected.divergence, test::loss_tolerance * expected.divergence);
        EXPECT_NEAR(got.label, expected.label, test::loss_tolerance * expected.label);
    }
    /// Of a chain of two products with softmax and slope between.
    test::Tolerance rounding() const { return test::tolerance(ctx->device(), DType::f32).times(4); }

    std::optional<Context> ctx;
    comm::Topology split;  // tensor parallel over all ranks
};

TEST_P(Objectives, OfASplitVocabularyAreTheSerialOnes) {
    constexpr int64_t tokens = 23;
    for (const int64_t top_k : {0, 5}) {
        SCOPED_TRACE(testing::Message() << "top_k " << top_k);
        const auto terms = parse_loss_terms(GetParam(), 1.5, top_k);
        Heads alone(*ctx, {}, tokens), parts(*ctx, split, tokens);
        Objective of_alone(terms), of_parts(terms);

        const Values expected = backward(alone, of_alone, {0, tokens});
        const Values got = backward(parts, of_parts, {0, tokens});

        const Range mine = parts.student.vocabulary();
        expect_same_sums(of_parts.sums(*ctx), of_alone.sums(*ctx));
        EXPECT_TRUE(test::near_all(got, expected, rounding()));
        EXPECT_TRUE(test::near_all(
            parts.student.head_gradient(),
            test::values_of(alone.student.head_gradient().rows(mine.begin, mine.size())), rounding()));
    }
}

TEST_P(Objectives, OfBlocksOfTokensAreThoseOfTheirTokens) {
    constexpr int64_t tokens = 4500;
    const auto blocks =
        model::logit_blocks(test::tiny_llama(), Device::cpu, DType::f32, split.tensor.size(), tokens);
    ASSERT_GT(blocks.size(), 2U);
    const auto terms = parse_loss_terms(GetParam(), 1.5);
    Heads one(*ctx, split, tokens), several(*ctx, split, tokens);
    Objective of_one(terms), of_several(terms);

    const Values got = backward(several, of_several, {0, tokens});

    Values expected;
    for (const Range block : blocks) {
        const Values part = backward(one, of_one, block);
        expected.insert(expected.end(), part.begin(), part.end());
    }
    expect_same_sums(of_several.sums(*ctx), of_one.sums(*ctx));
    EXPECT_TRUE(test::near_all(got, expected, rounding()));
    EXPECT_TRUE(test::near_all(several.student.head_gradient(), test::values_of(one.student.head_gradient()),
                               rounding()));
}

TEST_P(Objectives, OfPartsOfTheVocabularyAreThoseOfTheWhole) {
    using Storage = model::HeadBlocks::Storage;
    constexpr int64_t tokens = 23;
    for (const int64_t top_k : {0, 5}) {
        const auto terms = parse_loss_terms(GetParam(), 1.5, top_k);
        Heads whole(*ctx, split, tokens);
        Objective of_whole(terms);
        const Values expected = backward(whole, of_whole, {0, tokens});
        for (const auto storage : {Storage::kept, Storage::computed_again}) {
            SCOPED_TRACE(testing::Message()
                         << "top_k " << top_k << (storage == Storage::kept ? ", kept" : ", computed again"));
            Heads parts(*ctx, split, tokens);
            Objective of_parts(terms, model::HeadBlocks{{{0, 11}, {11, 23}}, 3, storage});

            const Values got = backward(parts, of_parts, {0, tokens});

            expect_same_sums(of_parts.sums(*ctx), of_whole.sums(*ctx));
            EXPECT_TRUE(test::near_all(got, expected, rounding()));
            EXPECT_TRUE(test::near_all(parts.student.head_gradient(),
                                       test::values_of(whole.student.head_gradient()), rounding()));
        }
    }
}

const auto name_of = [](const auto& loss) {
    std::string name = loss.param;
    for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
    return name;
};
INSTANTIATE_TEST_SUITE_P(, Objectives,
                         testing::Values("kl", "reverse-kl", "jsd", "tvd", "mse", "cosine", "ce",
                                         "jsd=0.7,ce=0.3"),
                         name_of);

}  // namespace
}  // namespace espalier::distill
