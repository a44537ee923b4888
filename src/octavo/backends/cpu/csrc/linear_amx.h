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

// Sums [rows][P * PANEL]: in scratch, or where they belong in y.
struct Sums {
  float *data;
  int64_t stride;
};

// T row tiles (1 or 2) by P panels (1 or 2). Tiles 0-3: sums [row tile][panel]; 4-5: rows of x; 6-7: weights.

template <int T, int P> OCTAVO_INLINE void open_sums(const Sums &sums, bool is_first) {
  const int64_t row_bytes = sums.stride * sizeof(float);
  if (is_first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    return;
  }
  _tile_loadd(0, sums.data, row_bytes);
  if (P > 1)
    _tile_loadd(1, sums.data + PANEL, row_bytes);
  if (T > 1)
    _tile_loadd(2, sums.data + TILE_ROWS * sums.stride, row_bytes);
  if (T > 1 && P > 1)
    _tile_loadd(3, sums.data + TILE_ROWS * sums.stride + PANEL, row_bytes);
}

template <int T, int P> OCTAVO_INLINE void store_sums(const Sums &sums) {
  const int64_t row_bytes = sums.stride * sizeof(float);
  _tile_stored(0, sums.data, row_bytes);
  if (P > 1)
    _tile_stored(1, sums.data + PANEL, row_bytes);
  if (T > 1)
    _tile_stored(2, sums.data + TILE_ROWS * sums.stride, row_bytes);
  if (T > 1 && P > 1)
    _tile_stored(3, sums.data + TILE_ROWS * sums.stride + PANEL, row_bytes);
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

// Row tiles of x from a span's first k on, and where their sums are and go to.
struct Rows {
  const bf16 *x;
  int64_t x_stride;
  Sums from, to;
  Sums y;           // where they belong in the end
  int y_rows_ahead; // of y, fetched for writing with each group of the last span
};

template <int T, int P> OCTAVO_INLINE void fetch_y(const Rows &rows, int g) {
  const int begin = g * rows.y_rows_ahead, rest = T * TILE_ROWS - begin;
  for (int r = 0; r < (rest < rows.y_rows_ahead ? rest : rows.y_rows_ahead); r++)
    for (int p = 0; p < P; p++)
      __builtin_prefetch(rows.y.data + (begin + r) * rows.y.stride + p * PANEL, 1);
}

// The group at the same place of the panels that follow these.
template <WeightFormat F, int P> OCTAVO_INLINE void fetch_weights(const Span &span, int g) {
  for (int p = P; p < 2 * P; p++)
    prefetch<F, L2>(group_data<F>(span.panel + p * span.panel_distance, span.first + g));
}

// The first T row tiles: unpacks the span LAG groups ahead of its use.
template <WeightFormat F, int T, int P> static void first_rows(const Rows &rows, const Span &span) {
  const int64_t distance = span.ring * TILE_BYTES;
  open_sums<T, P>(rows.from, span.first == 0);
  for (int g = 0; g < span.count + LAG; g++) {
    if (g < span.count) {
      fetch_weights<F, P>(span, g);
      for (int p = 0; p < P; p++)
        stage_tile<F>(Group<F>(span.panel + p * span.panel_distance, span.first + g),
                      span.tiles + p * distance + g % span.ring * TILE_BYTES);
    }
    memory_barrier();
    if (g >= LAG) {
      fetch_y<T, P>(rows, g - LAG);
      multiply_group<T, P>(rows.x + (g - LAG) * CHUNK, rows.x_stride,
                           span.tiles + (g - LAG) % span.ring * TILE_BYTES, distance);
    }
  }
  store_sums<T, P>(rows.to);
}

// T row tiles by tiles that lie ready: unpacked by the first rows, or bf16 as it is packed.
template <WeightFormat F, int T, int P>
static void further_rows(const Rows &rows, const Span &span, bool fetches_weights) {
  constexpr bool IS_TILE = F == WeightFormat::BF16;
  const uint8_t *weights = IS_TILE ? group_data<F>(span.panel, span.first) : span.tiles;
  const int64_t distance = IS_TILE ? span.panel_distance : span.ring * TILE_BYTES;
  open_sums<T, P>(rows.from, span.first == 0);
  for (int g = 0; g < span.count; g++) {
    if (fetches_weights)
      fetch_weights<F, P>(span, g);
    fetch_y<T, P>(rows, g);
    multiply_group<T, P>(rows.x + g * CHUNK, rows.x_stride, weights + (int64_t)g * TILE_BYTES, distance);
  }
  store_sums<T, P>(rows.to);
}

template <WeightFormat F, int T, int P>
static void multiply_rows(const Rows &rows, const Span &span, bool is_first) {
  if constexpr (F != WeightFormat::BF16)
    if (is_first)
      return first_rows<F, T, P>(rows, span);
  further_rows<F, T, P>(rows, span, is_first);
}

// Whole tiles of sums are y, as they are.
OCTAVO_INLINE bool is_sum(const LinearArgs &args, int end_panel) {
  return !args.bias && args.scale == 1.0f && !args.has_residual &&
         end_panel * PANEL <= args.weight.num_columns;
}

// Rows of y that sums are stored to at once: those of full passes. The others' wait for add_columns.
OCTAVO_INLINE int num_direct_rows(const LinearArgs &args, int end_panel, int rows) {
  if (!is_sum(args, end_panel))
    return 0;
  return rows % TILE_ROWS == 0 ? rows : rows / PAIR_ROWS * PAIR_ROWS;
}

// args: of these rows alone, and y from the span's first column on.
template <WeightFormat F, int P>
static void multiply_span(const LinearArgs &args, const Span &span, int direct_rows, bool is_last,
                          float *kept) {
  for (int row = 0; row < args.num_rows; row += PAIR_ROWS) {
    const bool is_pair = args.num_rows - row > TILE_ROWS;
    const Sums sums = {kept + row * P * PANEL, P * PANEL};
    const Sums y = {args.y + row * args.y_stride, args.y_stride};
    const int tiles = is_pair ? 2 : 1;
    const Rows rows = {args.x + row * args.x_stride + span.first * CHUNK,
                       args.x_stride,
                       sums,
                       is_last && row < direct_rows ? y : sums,
                       y,
                       is_last ? (tiles * TILE_ROWS + span.count - 1) / span.count : 0};
    if (is_pair)
      multiply_rows<F, 2, P>(rows, span, row == 0);
    else
      multiply_rows<F, 1, P>(rows, span, row == 0);
  }
}

template <WeightFormat F, int P> static void amx_panels(const LinearArgs &all, int panel, uint8_t *scratch) {
  float *sums = (float *)(scratch + TILES_BYTES);
  const int groups = num_groups(all.weight);
  const bool is_one_pass = all.num_rows <= PAIR_ROWS;
  const int block = is_one_pass ? groups : BLOCK_GROUPS;
  const uint8_t *first_panel = panel_data<F>(all.weight, panel);
  const int64_t distance = panel_data<F>(all.weight, panel + 1) - first_panel;
  for (int row = 0; row < all.num_rows; row += MAX_SUM_ROWS) {
    LinearArgs args = all;
    args.num_rows = rows_from(all, row);
    args.x += row * all.x_stride;
    args.y += row * all.y_stride + panel * PANEL;
    const int direct_rows = num_direct_rows(all, panel + P, args.num_rows);
    for (int g = 0; g < groups; g += block) {
      const int count = groups - g < block ? groups - g : block;
      const Span span = {first_panel, distance, g, count, scratch, is_one_pass ? RING : BLOCK_GROUPS};
      multiply_span<F, P>(args, span, direct_rows, g + count == groups, sums);
    }
    add_columns(all, panel, P, row + direct_rows, args.num_rows - direct_rows,
                sums + direct_rows * P * PANEL);
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
