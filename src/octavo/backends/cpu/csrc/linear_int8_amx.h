// Linear layers of int8 activations on AMX tiles: TDPBSSD sums the products of 16 rows x 16 columns over one
// group of k, exactly; vectors then add what the sums are worth, in the order of linear_int8_block.h.
//
// A group's weights become signed bytes, zero points subtracted, once for up to BLOCK_ROWS rows; digits are
// multiplied where they lie. Vectors work a few groups behind the matrix unit, which is busy with the next
// ones meanwhile, and keep the sums of a tile's rows in registers.
#pragma once
#include "linear_int8_block.h"
#include "tiles.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int VECTOR_ROWS =
    3; // computed, not measured: beyond, a tile costs less than so many rows of vectors
constexpr int BLOCK_ROWS = 128;  // rows that one panel's bytes are made for
constexpr int BLOCK_GROUPS = 16; // whose bytes are kept for further rows
constexpr int STAGE_LAG = 3;     // groups between bytes and their use: the stores have reached L1
constexpr int SUM_LAG = 2;       // between a multiplication and the use of its sums
constexpr int INTEGERS_RING = 4;
static_assert(STAGE_LAG < BLOCK_GROUPS && SUM_LAG < INTEGERS_RING, "a place would be written too early");

// Sums of integers that a group has: Q6_K one for each half.
template <WeightFormat F> constexpr int NUM_PARTS = F == WeightFormat::Q6_K ? 2 : 1;

struct TileScratch {
  alignas(64) uint8_t bytes[BLOCK_GROUPS][CHUNK * PANEL];
  alignas(64) int32_t integers[INTEGERS_RING][2][TILE_ROWS * PANEL];
  alignas(64) float sums[BLOCK_ROWS * PANEL];
};

// Groups of a panel, `count` from `first` on.
struct GroupSpan {
  const uint8_t *panel;
  int first, count;
};

// Tiles 0, 1: sums; 4, 5: digits; 6, 7: weights, four k to a row. `rows`: of x, in all.
template <WeightFormat F> static void configure_byte_tiles(int rows) {
  TileConfig config;
  for (int tile = 0; tile < 6; tile++)
    config.rows[tile] = (uint8_t)(rows < TILE_ROWS ? (rows + 3) / 4 * 4 : TILE_ROWS);
  config.row_bytes[4] = config.row_bytes[5] = CHUNK / NUM_PARTS<F>;
  config.rows[6] = config.rows[7] = QUADS / NUM_PARTS<F>;
  config.load();
}

template <WeightFormat F> OCTAVO_INLINE void stage_bytes(const Group<F> &group, uint8_t *out) {
  typedef int8_t BytesPart __attribute__((vector_size(4 * PART_LANES)));
#pragma GCC unroll 8
  for (int j = 0; j < QUADS; j++) {
    Bits quad = group.quad(j);
    OCTAVO_EACH_PART quad.part[i] = (BitsPart)((BytesPart)quad.part[i] - (int8_t)Integers<F>::ZERO);
    store_bits(out + 4 * PANEL * j, quad);
  }
}

// integers: [part][16 rows][16 columns].
template <WeightFormat F>
OCTAVO_INLINE void multiply_bytes(const DigitGroup *x, int64_t x_stride, const uint8_t *bytes,
                                  int32_t (&integers)[2][TILE_ROWS * PANEL]) {
  const int64_t x_bytes = x_stride * sizeof(DigitGroup);
  _tile_zero(0);
  _tile_loadd(6, bytes, TILE_ROW_BYTES);
  _tile_loadd(4, x->digits, x_bytes);
  _tile_dpbssd(0, 4, 6);
  _tile_stored(0, integers[0], TILE_ROW_BYTES);
  if constexpr (NUM_PARTS<F> == 2) {
    _tile_zero(1);
    _tile_loadd(7, bytes + CHUNK * PANEL / 2, TILE_ROW_BYTES);
    _tile_loadd(5, x->digits + CHUNK / 2, x_bytes);
    _tile_dpbssd(1, 5, 7);
    _tile_stored(1, integers[1], TILE_ROW_BYTES);
  }
}

template <WeightFormat F, int R>
OCTAVO_INLINE void add_integers(const Group<F> &group, const DigitGroup *x, int64_t x_stride,
                                const int32_t (&integers)[2][TILE_ROWS * PANEL], Vec (&sums)[R]) {
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    Vec value = to_float(load_bits((const uint8_t *)(integers[0] + r * PANEL)));
    if constexpr (NUM_PARTS<F> == 2)
      value = join_halves(group, value, to_float(load_bits((const uint8_t *)(integers[1] + r * PANEL))));
    sums[r] = add_group<F>(sums[r], value, group, x[r * x_stride]);
  }
}

// A span of up to R rows, whose weights are made bytes on the way if they are not yet. x: from its first
// group on.
template <WeightFormat F, int R>
static void add_span(const GroupSpan &span, const DigitGroup *x, int64_t x_stride, bool stages,
                     TileScratch &scratch, float *kept) {
  const int lag = stages ? STAGE_LAG : 0;
  Vec sums[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
    sums[r] = span.first ? load(kept + r * PANEL) : zero();
  for (int g = 0; g < span.count + lag + SUM_LAG; g++) {
    const int multiplied = g - lag, added = multiplied - SUM_LAG;
    if (stages && g < span.count) {
      prefetch<F, L1>(group_data<F>(span.panel, span.first + g) + STREAM_BYTES);
      stage_bytes<F>(Group<F>(span.panel, span.first + g), scratch.bytes[g % BLOCK_GROUPS]);
    }
    memory_barrier();
    if (multiplied >= 0 && multiplied < span.count)
      multiply_bytes<F>(x + multiplied, x_stride, scratch.bytes[multiplied % BLOCK_GROUPS],
                        scratch.integers[multiplied % INTEGERS_RING]);
    memory_barrier();
    if (added >= 0)
      add_integers<F, R>(Group<F>(span.panel, span.first + added), x + added, x_stride,
                         scratch.integers[added % INTEGERS_RING], sums);
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
    store(kept + r * PANEL, sums[r]);
}

template <WeightFormat F, int R>
static void add_tile(int rows, const GroupSpan &span, const DigitGroup *x, int64_t x_stride, bool stages,
                     TileScratch &scratch, float *kept) {
  if constexpr (R < TILE_ROWS)
    if (rows > R)
      return add_tile<F, R + 4>(rows, span, x, x_stride, stages, scratch, kept);
  add_span<F, R>(span, x, x_stride, stages, scratch, kept);
}

template <WeightFormat F>
static void tile_rows(const LinearArgs &args, int panel, int first_row, int rows, TileScratch &scratch) {
  const int groups = num_groups(args.weight), block = rows <= TILE_ROWS ? groups : BLOCK_GROUPS;
  const uint8_t *packed = panel_data<F>(args.weight, panel);
  for (int g = 0; g < groups; g += block) {
    const GroupSpan span = {packed, g, groups - g < block ? groups - g : block};
    for (int row = 0; row < rows; row += TILE_ROWS)
      add_tile<F, 4>(rows - row, span, args.digits + (first_row + row) * args.digits_stride + g,
                     args.digits_stride, row == 0, scratch, scratch.sums + row * PANEL);
  }
  add_columns(args, panel, 1, first_row, rows, scratch.sums);
}

template <WeightFormat F> static void tile_item(const LinearArgs &args, PanelRange panels) {
  TileScratch scratch;
  configure_byte_tiles<F>(args.num_rows);
  for (int panel = panels.begin; panel < panels.end; panel++)
    for (int row = 0; row < args.num_rows; row += BLOCK_ROWS)
      tile_rows<F>(args, panel, row, args.num_rows - row < BLOCK_ROWS ? args.num_rows - row : BLOCK_ROWS,
                   scratch);
  TileConfig().load(); // what the other kernels find
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
