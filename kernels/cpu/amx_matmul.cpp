#include "kernels/cpu/amx_matmul.hpp"

#include <algorithm>

#include "kernels/cpu/amx_panels.hpp"
#include "kernels/cpu/isa.hpp"
#include "src/core/exact.hpp"

// A thread takes a part of c, and of that a block of rows at a time, whose factors of a stay in the
// second-level cache: read where they lie, or packed where their order or an edge demands it. b is packed 32
// columns after another into the first-level cache, each column once for all rows of the block. While tiles
// multiply, what was summed last is stored and what is read from memory next is fetched: a tile product keeps
// its own port busy for 16 cycles and no other.

namespace espalier::cpu {

#ifdef __x86_64__

namespace {

/// Rows and columns of the sums that four tiles hold.
constexpr int64_t side = 32;
static_assert(side == 2 * tile_rows && side == tile_depth);

constexpr int64_t most_depth = 1024;   ///< of a block: 32 columns of b then take 64 KiB
constexpr int64_t most_rows = 512;     ///< of a block
constexpr int64_t most_columns = 256;  ///< of a block whose sums wait for more depth
constexpr int64_t a_bytes = 1 << 20;   ///< of a block's rows; the second-level cache has 2 MiB

int64_t padded(int64_t n) {
    return div_ceil(n, side) * side;
}

/// Sizes of the blocks that a thread works through, multiples of `side`.
struct Blocks {
    int64_t depth, rows, columns;
    bool sums_wait;  ///< in memory of their own, for more depth than a block has

    Blocks(const Product& p, DType result) {
        depth = padded(div_ceil(p.depth, div_ceil(p.depth, most_depth)));
        const int64_t most = std::clamp(a_bytes / (2 * depth) / side * side, side, most_rows);
        rows = padded(div_ceil(p.rows, div_ceil(p.rows, most)));
        sums_wait = depth < p.depth && result != DType::f32;
        columns = sums_wait ? most_columns : padded(p.columns);
    }
};

/// What a thread works in.
struct Workspace {
    bfloat16* a;    ///< [rows, depth] of a block, as tiles
    bfloat16* b;    ///< [depth, side], as tiles
    float* staged;  ///< [side, side]
    float* sums;    ///< [rows, columns]

    static int64_t bytes(const Blocks& blocks) {
        return 2 * (blocks.rows + side) * blocks.depth + 4 * side * side +
               (blocks.sums_wait ? 4 * blocks.rows * blocks.columns : 0);
    }
    Workspace(std::byte* memory, const Blocks& blocks) {
        a = reinterpret_cast<bfloat16*>(memory);
        b = a + blocks.rows * blocks.depth;
        staged = reinterpret_cast<float*>(b + side * blocks.depth);
        sums = staged + side * side;
    }
};

/// Number of parts that the rows and the columns of c are cut into.
struct Grid {
    int64_t down, across;
};

/// The one whose largest part is smallest; among equals the one that packs least: each thread columns of its
/// own of b, or rows of its own of a where these have to be transposed.
Grid grid_of(const Product& p, int64_t threads) {
    const int64_t rows = div_ceil(p.rows, side), columns = div_ceil(p.columns, side);
    const bool by_rows = p.a_order == Order::transposed;
    const auto grid = [&](int64_t others) {
        return by_rows ? Grid{threads / others, others} : Grid{others, threads / others};
    };
    const auto largest = [&](Grid g) { return div_ceil(rows, g.down) * div_ceil(columns, g.across); };
    Grid best = grid(1);
    for (int64_t others = 2; others <= threads; ++others) {
        if (largest(grid(others)) < largest(best)) best = grid(others);
    }
    return best;
}

/// Part i of [0, size), beginning and ending at multiples of `side` where it can.
Range part_of(int64_t size, int64_t parts, int64_t i) {
    const Range units = split_evenly(div_ceil(size, side), parts, i);
    return {std::min(units.begin * side, size), std::min(units.end * side, size)};
}

/// [begin, begin + most) cut at the end of `whole`.
Range block_at(int64_t begin, int64_t most, Range whole) {
    return {begin, std::min(begin + most, whole.end)};
}

/// A part of a matrix that will be read, fetched a cache line at a time.
class Ahead {
public:
    Ahead() = default;
    Ahead(StoredRows matrix, int64_t rows, int64_t columns)
        : row_(reinterpret_cast<const std::byte*>(matrix.data)),
          stride_(matrix.stride * 2),
          rows_(rows),
          width_(columns * 2) {}

    /// Calls of fetch(), each of so many lines, that fetch all of it in `steps`.
    int64_t lines_in(int64_t steps) const { return div_ceil(rows_ * div_ceil(width_, line), steps); }

    void fetch(int64_t lines) {
        for (; lines > 0 && rows_ > 0; --lines) {
            __builtin_prefetch(row_ + at_, 0, 2);
            at_ += line;
            if (at_ < width_) continue;
            at_ = 0;
            row_ += stride_;
            --rows_;
        }
    }

private:
    static constexpr int64_t line = 64;
    const std::byte* row_ = nullptr;
    int64_t stride_ = 0, rows_ = 0, width_ = 0, at_ = 0;
};

/// 32 rows of a as two columns of tiles.
struct LeftTiles {
    const bfloat16 *upper, *lower;
    int64_t row_bytes;
    int64_t step;  ///< elements from one tile to the next in depth
};

/// c, into which sums go.
template <class C>
struct Result {
    C* data;
    int64_t stride;
    const bfloat16* bias;  ///< of the first column; or none
    Store store;
};

ESPALIER_TILES_INLINE __m512 widened(const bfloat16* from, __mmask16 there) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, from)), 16));
}
ESPALIER_TILES_INLINE __m512 widened(const float* from, __mmask16 there) {
    return _mm512_maskz_loadu_ps(there, from);
}
ESPALIER_TILES_INLINE void put(bfloat16* to, __m512 values, __mmask16 there) {
    _mm256_mask_storeu_epi16(to, there, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)));
}
ESPALIER_TILES_INLINE void put(float* to, __m512 values, __mmask16 there) {
    _mm512_mask_storeu_ps(to, there, values);
}

/// Sums [rows, columns], at most side x side, on their way to c.
template <class C>
struct Finished {
    const float* sums = nullptr;  // [side, side]
    Result<C> to = {};
    int64_t rows = 0, row = 0;  // the next one
    uint32_t columns = 0;       // a bit for each

    /// The next row, if there is one.
    ESPALIER_TILES_INLINE void put_row() {
        if (row == rows) return;
        for (int64_t half = 0; half < side; half += tile_rows) {
            const auto there = static_cast<__mmask16>(columns >> half);
            C* const c = to.data + row * to.stride + half;
            __m512 values = _mm512_load_ps(sums + row * side + half);
            if (to.bias) values = _mm512_add_ps(values, widened(to.bias + half, there));
            if (to.store == Store::accumulate) values = _mm512_add_ps(values, widened(c, there));
            put(c, values, there);
        }
        ++row;
    }
    ESPALIER_TILES_INLINE void put_all() {
        while (row < rows) put_row();
    }
};

/// One thread's work.
template <class C>
class Worker {
public:
    Worker(const Product& product, const Blocks& blocks, Workspace space, StoredRows a, StoredRows b,
           Result<C> c)
        : product_(product), blocks_(blocks), space_(space), a_(a), b_(b), c_(c) {}

    ESPALIER_TILES void run(Range rows, Range columns) {
        for (int64_t i = rows.begin; i < rows.end; i += blocks_.rows) {
            for (int64_t j = columns.begin; j < columns.end; j += blocks_.columns) {
                const Range some_columns = block_at(j, blocks_.columns, columns);
                for (int64_t k = 0; k < product_.depth; k += blocks_.depth)
                    multiply(block_at(i, blocks_.rows, rows), some_columns,
                             block_at(k, blocks_.depth, {0, product_.depth}));
            }
        }
        finished_.put_all();
    }

private:
    StoredRows a_at(int64_t row, int64_t k) const {
        return product_.a_order == Order::transposed ? a_.from(k, row) : a_.from(row, k);
    }
    StoredRows b_at(int64_t k, int64_t column) const {
        return product_.b_order == Order::transposed ? b_.from(column, k) : b_.from(k, column);
    }

    /// A block, of one part of the depth.
    ESPALIER_TILES void multiply(Range rows, Range columns, Range depth) {
        const bool in_place = product_.a_order == Order::as_stored && depth.size() % side == 0;
        const int64_t whole = in_place ? rows.size() / side * side : 0;  // rows that are read where they lie
        pack_a({rows.begin + whole, rows.end}, depth);
        for (int64_t j = columns.begin; j < columns.end; j += side) {
            const Range panel = block_at(j, side, columns);
            pack_b(panel, depth);
            next_ = b_ahead(block_at(panel.end, side, columns), depth);
            fetched_ = next_.lines_in(div_ceil(rows.size(), side) * (padded(depth.size()) / side));
            for (int64_t i = rows.begin; i < rows.end; i += side) {
                const int64_t packed = i - rows.begin - whole;
                multiply_tiles(packed < 0 ? in_place_at(i, depth.begin) : packed_at(packed, depth),
                               block_at(i, side, rows), panel, depth,
                               waiting_at(i - rows.begin, j - columns.begin));
            }
        }
    }

    ESPALIER_TILES void pack_a(Range rows, Range depth) {
        const int64_t lower = side / 2 * padded(depth.size());
        bfloat16* to = space_.a;
        for (int64_t i = rows.begin; i < rows.end; i += side, to += lower) {
            for (int64_t k = depth.begin; k < depth.end; k += tile_depth, to += tile_size) {
                const int64_t high = rows.end - i, deep = depth.end - k, second = std::min(high, tile_rows);
                pack_left(a_at(i, k), product_.a_order, high, deep, to);
                pack_left(a_at(i + second, k), product_.a_order, high - second, deep, to + lower);
            }
        }
    }

    ESPALIER_TILES void pack_b(Range columns, Range depth) {
        const int64_t right = side / 2 * padded(depth.size());
        bfloat16* to = space_.b;
        for (int64_t k = depth.begin; k < depth.end; k += tile_depth, to += tile_size) {
            const int64_t deep = depth.end - k, wide = columns.size(), second = std::min(wide, tile_rows);
            pack_right(b_at(k, columns.begin), product_.b_order, deep, wide, to);
            pack_right(b_at(k, columns.begin + second), product_.b_order, deep, wide - second, to + right);
        }
    }

    float* waiting_at(int64_t row, int64_t column) const {
        return blocks_.sums_wait ? space_.sums + row * blocks_.columns + column : nullptr;
    }

    Ahead b_ahead(Range columns, Range depth) const {
        if (columns.size() <= 0) return {};
        const StoredRows at = b_at(depth.begin, columns.begin);
        return product_.b_order == Order::transposed ? Ahead(at, columns.size(), depth.size())
                                                     : Ahead(at, depth.size(), columns.size());
    }

    LeftTiles in_place_at(int64_t row, int64_t k) const {
        const StoredRows at = a_at(row, k);
        return {at.data, at.data + tile_rows * at.stride, at.stride * 2, tile_depth};
    }
    LeftTiles packed_at(int64_t row, Range depth) const {
        const int64_t k = padded(depth.size());
        const bfloat16* const at = space_.a + row * k;
        return {at, at + tile_rows * k, tile_depth * 2, tile_size};
    }

    /// Where the sums of these rows and columns go in c.
    Result<C> result_at(Range rows, Range columns, Range depth) const {
        const bool first = depth.begin == 0 || blocks_.sums_wait;
        return {c_.data + rows.begin * c_.stride + columns.begin, c_.stride,
                c_.bias && first ? c_.bias + columns.begin : nullptr, first ? c_.store : Store::accumulate};
    }

    /// At most side x side sums; `waiting`: theirs of less depth, blocks_.columns apart.
    ESPALIER_TILES_INLINE void multiply_tiles(LeftTiles a, Range rows, Range columns, Range depth,
                                              float* waiting) {
        const Result<C> to = result_at(rows, columns, depth);
        float* const in_c = whole_in_f32(to, rows, columns);
        if (in_c && to.store == Store::accumulate) {
            if (static_cast<void*>(finished_.to.data) == in_c) finished_.put_all();  // of less depth
            take_sums(in_c, c_.stride);
        } else if (blocks_.sums_wait && depth.begin > 0) {
            take_sums(waiting, blocks_.columns);
        } else {
            zero_sums();
        }
        const bfloat16* b = space_.b;
        const int64_t steps = padded(depth.size()) / tile_depth, right = steps * tile_size,
                      rows_a_step = div_ceil(side, steps);
        for (int64_t k = 0, row = 0; k < steps; ++k) {
            add_tile_products(a.upper, a.lower, a.row_bytes, b, b + right);
            a.upper += a.step;
            a.lower += a.step;
            b += tile_size;
            next_.fetch(fetched_);
            for (const int64_t end = std::min(row + rows_a_step, side); row < end; ++row) {
                __builtin_prefetch(to.data + (side + row) * to.stride, 1);
                finished_.put_row();
            }
        }
        finished_.put_all();
        if (in_c) return put_sums(in_c, c_.stride);
        if (blocks_.sums_wait && depth.end < product_.depth) return put_sums(waiting, blocks_.columns);
        put_sums(space_.staged, side);
        finished_ = {space_.staged, to, rows.size(), 0, low_bits(columns.size())};
    }

    /// Where tiles can be added to c as they are; else none.
    static float* whole_in_f32(const Result<C>& to, Range rows, Range columns) {
        if constexpr (std::is_same_v<C, float>) {
            if (!to.bias && rows.size() == side && columns.size() == side) return to.data;
        }
        return nullptr;
    }

    const Product product_;
    const Blocks blocks_;
    const Workspace space_;
    const StoredRows a_, b_;
    const Result<C> c_;
    Finished<C> finished_;
    Ahead next_;
    int64_t fetched_ = 0;
};

}  // namespace

bool suits_amx(const Product& product) {
    return has(Isa::amx_bf16) && std::min({product.rows, product.columns, product.depth}) >= side;
}

void amx_matmul(Context& ctx, const Product& product, const Tensor& a, const Tensor& b, const Tensor& bias,
                Tensor& c) {
    const Blocks blocks(product, c.dtype());
    const Grid grid = grid_of(product, ctx.threads());
    const int64_t parts = grid.down * grid.across, space = padded(Workspace::bytes(blocks) / 4);
    Tensor memory = ctx.empty({parts, space}, DType::f32);
    const StoredRows left{a.data<bfloat16>(), a.dim(1)}, right{b.data<bfloat16>(), b.dim(1)};
    visit_float(c.dtype(), [&]<class C>(C) {
        const Result<C> result{c.data<C>(), product.columns, bias ? bias.data<bfloat16>() : nullptr,
                               product.store};
#pragma omp parallel for num_threads(ctx.threads()) schedule(static, 1)
        for (int64_t i = 0; i < parts; ++i) {
            const TileState tiles;
            Worker<C>(product, blocks,
                      Workspace(reinterpret_cast<std::byte*>(memory.data<float>() + i * space), blocks), left,
                      right, result)
                .run(part_of(product.rows, grid.down, i / grid.across),
                     part_of(product.columns, grid.across, i % grid.across));
        }
    });
}

#else

bool suits_amx(const Product&) {
    return false;
}

void amx_matmul(Context&, const Product&, const Tensor&, const Tensor&, const Tensor&, Tensor&) {
    throw InternalError("amx_matmul: this processor has no tiles");
}

#endif

}  // namespace espalier::cpu
