#include "kernels/cpu/amx_tiles.hpp"

#ifdef __x86_64__

namespace espalier::cpu {
namespace {

/// What ldtilecfg reads: eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileShapes {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t bytes_a_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileShapes) == 64);

// Not in the constructor: GCC 12 forgets the target of those.
ESPALIER_TILES void begin_tiles() {
    // Not on the stack, where it leaves out writes that it believes nobody reads.
    static constexpr TileShapes shapes;
    _tile_loadconfig(&shapes);
}
ESPALIER_TILES void end_tiles() {
    _tile_release();
}

}  // namespace

TileState::TileState() {
    begin_tiles();
}
TileState::~TileState() {
    end_tiles();
}

}  // namespace espalier::cpu

#else

namespace espalier::cpu {

TileState::TileState() = default;
TileState::~TileState() = default;

}  // namespace espalier::cpu

#endif
