// Linear layers on AMX tiles. TDPBF16PS adds one chunk to 16 rows x 16 columns in exactly the order of
// chunk() in linear_block.h, denormals flushed, so this file holds no arithmetic, only what moves where.
//
// Sums are 2 x 2 tiles: two of rows by two panels. A group of weights is unpacked while the matrix unit
// multiplies the first two row tiles by the groups before it; further rows find it in L1. With more than 32
// rows this goes on for a block of the depth at a time, and the sums wait in scratch meanwhile. Rows come in
// sixteens: what lies behind the last row of x is read, multiplied and dropped.
#pragma once
#include "linear_block.h"
#include "tiles.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int FEW_ROWS = 2; // measured: from 3 rows on tiles are faster
constexpr int PAIR_ROWS = 2 * TILE_ROWS;
constexpr int LAG = 3;          // groups between unpacking and use: the stores have reached L1
constexpr int RING = 8;         // groups kept when no further rows need them
constexpr int BLOCK_GROUPS = 9; // groups kept for further rows: two panels and 32 rows of x fit L1
constexpr size_t TILES_BYTES = 2 * BLOCK_GROUPS * TILE_BYTES;
constexpr size_t MANY_ROWS_SCRATCH_BYTES = TILES_BYTES + (size_t)MAX_SUM_ROWS * 2 * PANEL * sizeof(float);

OCTAVO_INLINE void prepare_thread() { TileConfig().load(); }

OCTAVO_INLINE void release_thread() { _tile_release(); }

// T row tiles (1 or 2) by P panels (1 or 2). Tiles 0-3: sums [row tile][panel]; 4-5: rows of x; 6-7: weights.

template <int T, int P> OCTAVO_INLINE void open_sums(const float *sums, bool is_first) {
  const int64_t stride = P * TILE_ROW_BYTES;
  if (is_first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    return;
  }
  _tile_loadd(0, sums, stride);
  if (P > 1)
    _tile_loadd(1, sums + PANEL, stride);
  if (T > 1)
    _tile_loadd(2, sums + TILE_ROWS * P * PANEL, stride);
  if (T > 1 && P > 1)
    _tile_loadd(3, sums + TILE_ROWS * P * PANEL + PANEL, stride);
}

template <int T, int P> OCTAVO_INLINE void store_sums(float *sums) {
  const int64_t stride = P * TILE_ROW_BYTES;
  _tile_stored(0, sums, stride);
  if (P > 1)
    _tile_stored(1, sums + PANEL, stride);
  if (T > 1)
    _tile_stored(2, sums + TILE_ROWS * P * PANEL, stride);
  if (T > 1 && P > 1)
    _tile_stored(3, sums + TILE_ROWS * P * PANEL + PANEL, stride);
}

// weights: the group's tile of the first panel; that of the second lies `distance` bytes behind it.
template <int T, int P>
OCTAVO_INLINE void multiply_group(const bf16 *x, int64_t x_stride, const uint8_t *weights, int64_t distance) {
  const int64_t row_bytes = x_stride * sizeof(bf16);
  _tile_loadd(6, weights, TILE_ROW_BYTES);
  _tile_loadd(4, x, row_bytes);
  _tile_dpbf16ps(0, 4, 6);
  if (P > 1) {
    _tile_loadd(7, weights + distance, TILE_ROW_BYTES);
    _tile_dpbf16ps(1, 4, 7);
  }
  if (T > 1) {
    _tile_loadd(5, x + TILE_ROWS * x_stride, row_bytes);
    _tile_dpbf16ps(2, 5, 6);
  }
  if (T > 1 && P > 1)
    _tile_dpbf16ps(3, 5, 7);
}

// `count` groups of a panel from `first` on, and where their tiles go: the span's group g to place g % ring.
struct Span {
  const uint8_t *panel;
  int64_t panel_distance; // to the next panel
  int first, count;
  uint8_t *tiles;
  int ring;
};

// The first T row tiles: unpacks the span LAG groups ahead of its use.
template <WeightFormat F, int T, int P>
static void first_rows(const bf16 *x, int64_t x_stride, const Span &span, bool is_first, float *sums) {
  const int64_t distance = span.ring * TILE_BYTES;
  open_sums<T, P>(sums, is_first);
  for (int g = 0; g < span.count + LAG; g++) {
    if (g < span.count)
      for (int p = 0; p < P; p++) {
        const uint8_t *panel = span.panel + p * span.panel_distance;
        prefetch<F>(panel, span.first + g);
        stage_tile<F>(Group<F>(panel, span.first + g),
                      span.tiles + p * distance + g % span.ring * TILE_BYTES);
      }
    memory_barrier();
    if (g >= LAG)
      multiply_group<T, P>(x + (g - LAG) * CHUNK, x_stride, span.tiles + (g - LAG) % span.ring * TILE_BYTES,
                           distance);
  }
  store_sums<T, P>(sums);
}

// T row tiles by tiles that lie ready.
template <int T, int P>
OCTAVO_INLINE void further_rows(const bf16 *x, int64_t x_stride, const uint8_t *weights, int64_t distance,
                                int count, bool is_first, float *sums) {
  open_sums<T, P>(sums, is_first);
  for (int g = 0; g < count; g++)
    multiply_group<T, P>(x + g * CHUNK, x_stride, weights + (int64_t)g * TILE_BYTES, distance);
  store_sums<T, P>(sums);
}

template <WeightFormat F, int P>
static void multiply_span(const bf16 *x, int64_t x_stride, int rows, const Span &span, bool is_first,
                          float *sums) {
  const uint8_t *weights = group_data<F>(span.panel, span.first); // a group of bf16 is a tile already
  int64_t distance = span.panel_distance;
  int row = 0;
  if constexpr (F != WeightFormat::BF16) {
    weights = span.tiles;
    distance = span.ring * TILE_BYTES;
    row = PAIR_ROWS;
    if (rows <= TILE_ROWS)
      first_rows<F, 1, P>(x, x_stride, span, is_first, sums);
    else
      first_rows<F, 2, P>(x, x_stride, span, is_first, sums);
  }
  for (; row + TILE_ROWS < rows; row += PAIR_ROWS)
    further_rows<2, P>(x + row * x_stride, x_stride, weights, distance, span.count, is_first,
                       sums + row * P * PANEL);
  if (row < rows)
    further_rows<1, P>(x + row * x_stride, x_stride, weights, distance, span.count, is_first,
                       sums + row * P * PANEL);
}

template <WeightFormat F, int P> static void amx_panels(const LinearArgs &args, int panel, uint8_t *scratch) {
  float *sums = (float *)(scratch + TILES_BYTES);
  const int groups = num_groups(args.weight);
  const bool is_one_pass = args.num_rows <= PAIR_ROWS;
  const int block = is_one_pass ? groups : BLOCK_GROUPS;
  const uint8_t *first_panel = panel_data<F>(args.weight, panel);
  const int64_t distance = panel_data<F>(args.weight, panel + 1) - first_panel;
  for (int row = 0; row < args.num_rows; row += MAX_SUM_ROWS) {
    const bf16 *x = args.x + row * args.x_stride;
    for (int g = 0; g < groups; g += block) {
      const int count = groups - g < block ? groups - g : block;
      const Span span = {first_panel, distance, g, count, scratch, is_one_pass ? RING : BLOCK_GROUPS};
      multiply_span<F, P>(x + g * CHUNK, args.x_stride, rows_from(args, row), span, g == 0, sums);
    }
    add_columns(args, panel, P, row, rows_from(args, row), sums);
  }
}

template <WeightFormat F>
static void many_rows_item(const LinearArgs &args, PanelRange range, uint8_t *scratch) {
  int panel = range.begin;
  for (; panel + 1 < range.end; panel += 2)
    amx_panels<F, 2>(args, panel, scratch);
  if (panel < range.end)
    amx_panels<F, 1>(args, panel, scratch);
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
