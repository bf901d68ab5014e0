#include "kernels/matmul.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include "kernels/cpu/onednn_matmul.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/reference/matmul.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

/// y [m, n] from x [m, k] and w [n, k].
struct MatmulCase {
    const char* name;
    int64_t m, n, k;
    int64_t size() const { return m * n * k; }
};
constexpr std::array matmul_cases{
    MatmulCase{"one_element", 1, 1, 1},
    MatmulCase{"by_hand", 2, 3, 4},
    MatmulCase{"odd", 67, 131, 257},
    MatmulCase{"one_token", 1, 576, 192},
    MatmulCase{"beyond_a_block", 3, 8195, 5},  // more features than bf16 is converted in at once
    MatmulCase{"many_tiles", 5, 17003, 3},     // cut into tiles that the threads share
    // More of each than a block of AMX tiles has; widths of whole tiles are read where they lie.
    MatmulCase{"deep", 70, 610, 1090},
    MatmulCase{"many_tokens", 1100, 40, 33},
    MatmulCase{"deep_gradient", 65, 1090, 610},
    MatmulCase{"whole_tiles", 96, 64, 1056},
    MatmulCase{"one_tile_of_sums", 32, 32, 1056},
    MatmulCase{"no_tokens", 0, 64, 48},
    MatmulCase{"no_outputs", 7, 0, 48},
    MatmulCase{"no_inputs", 7, 64, 0},
};

/// What a sum of products of this type is compared with; a bf16 result is f32 or rounded once.
Tolerance tolerance_of(const Tensor& result) {
    return tolerance_of_product(test_device(), result.dtype());
}

class Matmul : public testing::TestWithParam<std::tuple<MatmulCase, DType>> {
protected:
    Tensor tensor(const Values& values, Shape shape) {
        return tensor_of(ctx_, values, std::move(shape), dtype_);
    }
    /// The types that a result may have beside factors of dtype_.
    std::vector<DType> results() const {
        return dtype_ == DType::f32 ? std::vector{DType::f32} : std::vector{dtype_, DType::f32};
    }

    DType dtype_ = std::get<1>(GetParam());
    int64_t m_ = std::get<0>(GetParam()).m, n_ = std::get<0>(GetParam()).n, k_ = std::get<0>(GetParam()).k;
    Values x_ = rounded_to(dtype_, random_values(m_* k_, 1));
    Values w_ = rounded_to(dtype_, random_values(n_* k_, 2));
    Values bias_ = rounded_to(dtype_, random_values(n_, 3));
    Values dy_ = rounded_to(dtype_, random_values(m_* n_, 4));
    Context ctx_{on_test_device(2)};
};

TEST_P(Matmul, OverwritesWithTheProductAndTheBias) {
    for (const DType result : results()) {
        for (const bool has_bias : {false, true}) {
            Tensor y = tensor_of(ctx_, random_values(m_ * n_, 5), {m_, n_}, result);

            matmul(ctx_, tensor(x_, {m_, k_}), tensor(w_, {n_, k_}),
                   has_bias ? tensor(bias_, {n_}) : Tensor(), y);

            const auto expected = reference::matmul(x_, w_, has_bias ? bias_ : Values{}, m_, n_, k_);
            EXPECT_TRUE(near_all(y, expected, tolerance_of(y)));
        }
    }
}

TEST_P(Matmul, AccumulatesOntoWhatIsThere) {
    for (const DType result : results()) {
        const Values before = rounded_to(result, random_values(m_ * n_, 5));
        Tensor y = tensor_of(ctx_, before, {m_, n_}, result);

        matmul(ctx_, tensor(x_, {m_, k_}), tensor(w_, {n_, k_}), tensor(bias_, {n_}), y, Store::accumulate);

        const auto expected = sum_of(before, reference::matmul(x_, w_, bias_, m_, n_, k_));
        EXPECT_TRUE(near_all(y, expected, tolerance_of(y)));
    }
}

TEST_P(Matmul, GivesTheInputItsGradient) {
    for (const DType result : results()) {
        for (const Store store : {Store::overwrite, Store::accumulate}) {
            const Values before = rounded_to(result, random_values(m_ * k_, 5));
            Tensor dx = tensor_of(ctx_, before, {m_, k_}, result);

            matmul_backward_input(ctx_, tensor(dy_, {m_, n_}), tensor(w_, {n_, k_}), dx, store);

            auto expected = reference::matmul_backward_input(dy_, w_, m_, n_, k_);
            if (store == Store::accumulate) expected = sum_of(before, expected);
            EXPECT_TRUE(near_all(dx, expected, tolerance_of(dx)));
        }
    }
}

TEST_P(Matmul, AddsToTheWeightsGradient) {
    const Values before = rounded_to(DType::f32, random_values(n_ * k_, 5));
    Tensor dw = tensor_of(ctx_, before, {n_, k_}, DType::f32);

    matmul_backward_weight(ctx_, tensor(dy_, {m_, n_}), tensor(x_, {m_, k_}), dw);

    const auto expected = sum_of(before, reference::matmul_backward_weight(dy_, x_, m_, n_, k_));
    EXPECT_TRUE(near_all(dw, expected, tolerance_of(dw)));
}

TEST_P(Matmul, AddsToTheBiasGradient) {
    const Values before = rounded_to(DType::f32, random_values(n_, 5));
    Tensor dbias = tensor_of(ctx_, before, {n_}, DType::f32);

    bias_backward(ctx_, tensor(dy_, {m_, n_}), dbias);

    EXPECT_TRUE(near_all(dbias, sum_of(before, reference::bias_backward(dy_, m_, n_)), tolerance_of(dbias)));
}

class MatmulReference : public Matmul {};

TEST_P(MatmulReference, GradientsAreFiniteDifferences) {
    const auto dx = reference::matmul_backward_input(dy_, w_, m_, n_, k_);
    const auto dw = reference::matmul_backward_weight(dy_, x_, m_, n_, k_);
    const auto dbias = reference::bias_backward(dy_, m_, n_);

    const auto loss = [&](const Values& x, const Values& w, const Values& bias) {
        return inner_product(dy_, reference::matmul(x, w, bias, m_, n_, k_));
    };
    const auto of_x = [&](const Values& x) { return loss(x, w_, bias_); };
    const auto of_w = [&](const Values& w) { return loss(x_, w, bias_); };
    const auto of_bias = [&](const Values& bias) { return loss(x_, w_, bias); };
    EXPECT_TRUE(near_all(dx, numeric_gradient(of_x, x_), numeric_tolerance));
    EXPECT_TRUE(near_all(dw, numeric_gradient(of_w, w_), numeric_tolerance));
    EXPECT_TRUE(near_all(dbias, numeric_gradient(of_bias, bias_), numeric_tolerance));
}

INSTANTIATE_TEST_SUITE_P(Cases, Matmul,
                         testing::Combine(testing::ValuesIn(matmul_cases), testing::ValuesIn(float_types)),
                         parameter_name);
INSTANTIATE_TEST_SUITE_P(SmallCases, MatmulReference,
                         testing::Combine(testing::ValuesIn(up_to(small_size, matmul_cases)),
                                          testing::Values(DType::f32)),
                         parameter_name);

// The primitives carry bf16 where the processor has it; in f32 every processor can show that they are asked
// right.
TEST(OneDnnMatmul, TransposesAccumulatesAndAddsABiasAlsoOnTheSecondCall) {
    Context ctx({Device::cpu, 2});
    const int64_t rows = 5, columns = 7, depth = 11;
    const Values a = rounded_to(DType::f32, random_values(rows * depth, 1));
    const Values b = rounded_to(DType::f32, random_values(depth * columns, 2));
    const Values bias = rounded_to(DType::f32, random_values(columns, 3));
    Values a_transposed, b_transposed;
    for (int64_t j = 0; j < depth; ++j)
        for (int64_t i = 0; i < rows; ++i) a_transposed.push_back(a[i * depth + j]);
    for (int64_t j = 0; j < columns; ++j)
        for (int64_t i = 0; i < depth; ++i) b_transposed.push_back(b[i * columns + j]);
    Tensor c = ctx.zeros({rows, columns}, DType::f32);

    for (const Store store : {Store::overwrite, Store::accumulate, Store::accumulate}) {
        ctx.resource<cpu::OneDnnMatmul>().run(
            {rows, columns, depth, cpu::Order::transposed, cpu::Order::transposed, store},
            tensor_of(ctx, a_transposed, {depth, rows}, DType::f32),
            tensor_of(ctx, b_transposed, {columns, depth}, DType::f32),
            tensor_of(ctx, bias, {columns}, DType::f32), c);
    }

    const Values once = reference::matmul(a, b_transposed, bias, rows, columns, depth);
    EXPECT_TRUE(near_all(c, sum_of(sum_of(once, once), once), tolerance(Device::cpu, DType::f32)));
}

TEST(OneDnnMatmul, TakesMoreKindsOfProductsThanItKeeps) {
    Context ctx({Device::cpu, 1});
    const auto most = static_cast<int64_t>(cpu::OneDnnMatmul::most_compiled);
    const Tensor b = tensor_of(ctx, {3}, {1, 1}, DType::f32);

    for (int64_t rows = 1; rows <= most + 2; ++rows) {
        Tensor c = ctx.zeros({rows, 1}, DType::f32);
        ctx.resource<cpu::OneDnnMatmul>().run(
            {rows, 1, 1, cpu::Order::as_stored, cpu::Order::as_stored, Store::overwrite},
            tensor_of(ctx, Values(static_cast<size_t>(rows), 2), {rows, 1}, DType::f32), b, {}, c);
        ASSERT_EQ(c.data<float>()[rows - 1], 6) << rows;
    }
}

/// Zeros whose last byte is the last that may be read: behind it lies memory that nobody may touch. Loads of
/// tiles are nothing that a sanitizer sees.
Tensor at_the_end_of_memory(Shape shape, DType dtype) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = static_cast<size_t>(element_count(shape)) * size_of(dtype),
                 pages = div_ceil(bytes, page) * page;
    void* const begin = mmap(nullptr, pages + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(begin, MAP_FAILED);
    EXPECT_EQ(mprotect(begin, pages, PROT_READ | PROT_WRITE), 0);
    auto* const data = static_cast<std::byte*>(begin) + (pages - bytes);
    const std::shared_ptr<std::byte> memory(data, [=](std::byte*) { munmap(begin, pages + page); });
    return {memory, std::move(shape), dtype};
}

class MatmulBounds : public testing::TestWithParam<MatmulCase> {};

TEST_P(MatmulBounds, TouchNothingBehindTheirTensors) {
    Context ctx({Device::cpu, 2});
    const auto [name, m, n, k] = GetParam();
    const auto bf16 = [](Shape shape) { return at_the_end_of_memory(std::move(shape), DType::bf16); };
    const Tensor x = bf16({m, k}), w = bf16({n, k}), dy = bf16({m, n}), bias = bf16({n});
    for (const DType result : {DType::bf16, DType::f32}) {
        Tensor y = at_the_end_of_memory({m, n}, result), dx = at_the_end_of_memory({m, k}, result);

        matmul(ctx, x, w, bias, y, Store::accumulate);
        matmul_backward_input(ctx, dy, w, dx, Store::accumulate);

        EXPECT_EQ(values_of(y), Values(static_cast<size_t>(m * n), 0));
    }
    Tensor dw = at_the_end_of_memory({n, k}, DType::f32);
    matmul_backward_weight(ctx, dy, x, dw);
    EXPECT_EQ(values_of(dw), Values(static_cast<size_t>(n * k), 0));
}

INSTANTIATE_TEST_SUITE_P(Cases, MatmulBounds,
                         testing::Values(MatmulCase{"edges_everywhere", 67, 131, 257},
                                         MatmulCase{"whole_depths", 72, 96, 64},
                                         MatmulCase{"whole_tiles", 64, 64, 64}),
                         [](const auto& tested) { return tested.param.name; });

TEST(BiasBackward, SumsAlikeForAnyThreadCount) {
    const auto sum = [&](int threads) {
        Context ctx(on_test_device(threads));
        Tensor dbias = ctx.zeros({301}, DType::f32);
        bias_backward(ctx, tensor_of(ctx, random_values(333 * 301, 1), {333, 301}, DType::f32), dbias);
        return dbias;
    };

    const Tensor alone = sum(1);

    EXPECT_TRUE(same_bits(sum(2), alone));
    EXPECT_TRUE(same_bits(sum(5), alone));
}

TEST(BiasBackward, TakesMoreRowsThanAGridOfTheDeviceHasBlocksFor) {
    constexpr int64_t rows_of_a_block = 64, most_blocks = 65535;
    const int64_t rows = rows_of_a_block * (most_blocks + 2) + 1;
    Context ctx(on_test_device());
    Tensor ones = ctx.empty({rows, 1}, DType::f32), dbias = ctx.zeros({1}, DType::f32);
    fill(ctx, 1, ones);

    bias_backward(ctx, ones, dbias);

    EXPECT_EQ(values_of(dbias), Values{static_cast<double>(rows)});
}

TEST(MatmulChecks, RefuseAFactorFromElsewhere) {
    Context ctx(on_test_device());
    const Device other = ctx.on_gpu() ? Device::cpu : Device::cuda;
    const Tensor x = ctx.zeros({1, 0}, DType::f32),
                 foreign(std::make_shared<std::byte>(), {1, 0}, DType::f32, other);
    Tensor y = ctx.zeros({1, 1}, DType::f32);

    EXPECT_THROW(matmul(ctx, x, foreign, {}, y), InternalError);
    EXPECT_THROW(matmul(ctx, foreign, x, {}, y), InternalError);
}

TEST(MatmulChecks, RefuseFactorsThatDoNotFit) {
    Context ctx(on_test_device());
    Tensor y = ctx.zeros({2, 3}, DType::f32), rounded = ctx.zeros({2, 3}, DType::bf16);
    const Tensor x = ctx.zeros({2, 4}, DType::f32), w = ctx.zeros({3, 4}, DType::f32);

    EXPECT_THROW(matmul(ctx, x, ctx.zeros({3, 5}, DType::f32), {}, y), InternalError);
    EXPECT_THROW(matmul(ctx, x, ctx.zeros({3, 4}, DType::bf16), {}, y), InternalError);
    EXPECT_THROW(matmul(ctx, x, w, {}, rounded), InternalError);
}

}  // namespace
}  // namespace espalier::test
