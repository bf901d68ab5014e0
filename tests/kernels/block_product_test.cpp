#include "kernels/cpu/block_product.hpp"

#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

using cpu::block_unit;
using cpu::BlockProduct;
using cpu::BlockShape;
using cpu::panel_columns;
using cpu::panel_depth;

template <class T>
class BlockProducts : public testing::Test {
protected:
    static constexpr DType dtype = dtype_of<T>::value;

    /// `count` elements as T.
    Tensor factors(const Values& values) { return tensor_of(ctx_, values, {std::ssize(values)}, dtype); }

    /// b [depth, columns] as panels.
    static Values in_panels(const Values& b, int64_t depth, int64_t columns) {
        Values out(b.size());
        for (int64_t k = 0; k < depth; ++k) {
            for (int64_t j = 0; j < columns; ++j) {
                const int64_t panel = j / panel_columns, step = k / panel_depth<T>;
                const int64_t at =
                    ((panel * depth / panel_depth<T> + step) * panel_columns + j % panel_columns) *
                        panel_depth<T> +
                    k % panel_depth<T>;
                out[at] = b[k * columns + j];
            }
        }
        return out;
    }

    Context ctx_{ContextOptions{}};
};

using Elements = testing::Types<float, bfloat16>;
TYPED_TEST_SUITE(BlockProducts, Elements);

/// The product is a part of what is stored, and its result a part of a wider matrix.
TYPED_TEST(BlockProducts, OverwriteAndAddUp) {
    using T = TypeParam;
    constexpr int64_t apart = 3 * block_unit;  // rows of a and of c; the depth and columns of b
    constexpr DType type = dtype_of<T>::value;
    for (const BlockShape shape : {BlockShape{32, 32, 32}, {64, 32, 96}, {32, 96, 64}, {96, 64, 32}}) {
        const Values a = rounded_to(type, random_values(shape.rows * apart, 1));
        const Values b = rounded_to(type, random_values(apart * apart, 2));
        const Tensor a_rows = this->factors(a), panels = this->factors(this->in_panels(b, apart, apart));
        const int64_t k0 = apart - shape.depth, j0 = apart - shape.columns;
        Values expected(shape.rows * apart, 7.0);
        Tensor c = tensor_of(this->ctx_, expected, {shape.rows, apart}, DType::f32);
        for (const double times : {1.0, 2.0}) {
            {
                const BlockProduct<T> product;
                const cpu::BlockPanels<T> stored{panels.data<T>(), apart};
                product(times == 1.0 ? Store::overwrite : Store::accumulate, shape,
                        {a_rows.data<T>() + k0, apart}, stored.from(k0, j0), c.data<float>() + j0, apart);
            }
            for (int64_t i = 0; i < shape.rows; ++i) {
                for (int64_t j = j0; j < apart; ++j) {
                    double sum = 0;
                    for (int64_t k = k0; k < apart; ++k) sum += a[i * apart + k] * b[k * apart + j];
                    expected[i * apart + j] = times * sum;
                }
            }
            EXPECT_TRUE(near_all(c, expected, tolerance(Device::cpu, DType::f32)));
        }
    }
}

}  // namespace
}  // namespace espalier::test
