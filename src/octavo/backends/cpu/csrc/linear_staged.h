// Linear layers of more than a few rows where there are no AMX tiles.
//
// STAGE_PANELS panels x STAGE_GROUPS groups are unpacked to scratch, where they stay in L1 while every block
// of rows passes over them; the sums wait in scratch meanwhile, as fp32 and so exactly.
#pragma once
#include "linear_block.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

// The chains of a block fill the registers: 2 * ROW_BLOCK * PANEL_BLOCK * PARTS of 32, 16 and 16.
#if defined(__AVX512F__)
constexpr int FEW_ROWS = 12, ROW_BLOCK = 6, PANEL_BLOCK = 2;
#elif defined(__AVX2__)
constexpr int FEW_ROWS = 4, ROW_BLOCK = 3, PANEL_BLOCK = 1;
#else
constexpr int FEW_ROWS = 0, ROW_BLOCK = 1, PANEL_BLOCK = 1;
#endif
constexpr int STAGE_PANELS = 4, STAGE_GROUPS = 2;

// Scratch is [unpacked weights][a row block of x as fp32][sums].
constexpr int WEIGHT_FLOATS = STAGE_PANELS * STAGE_GROUPS * STAGED_FLOATS;
constexpr int X_FLOATS = ROW_BLOCK * STAGE_GROUPS * CHUNK;
constexpr size_t MANY_ROWS_SCRATCH_BYTES =
    (WEIGHT_FLOATS + X_FLOATS + (size_t)MAX_SUM_ROWS * STAGE_PANELS * PANEL) * sizeof(float);

// `rows` (at most R) rows against `groups` unpacked groups of P panels, which lie STAGE_GROUPS groups apart.
template <int R, int P>
static void staged_rows(int rows, const float *weights, int groups, const float *x, float *sums) {
  if constexpr (R > 1)
    if (rows < R)
      return staged_rows<R - 1, P>(rows, weights, groups, x, sums);
  for (int g = 0; g < groups; g++) {
    Staged staged[P];
    for (int p = 0; p < P; p++)
      staged[p].data = weights + (p * STAGE_GROUPS + g) * STAGED_FLOATS;
    chunk<R, P>(staged, x + g * CHUNK, STAGE_GROUPS * CHUNK, sums);
    asm("" ::: "memory"); // no sums in registers: the chains need all of them
  }
}

// The sums lie as [block of PANEL_BLOCK panels, a last one of one panel][rows][columns of the block].
template <WeightFormat F>
static void staged_panels(const LinearArgs &args, PanelRange panels, int first_row, int rows,
                          float *scratch) {
  float *weights = scratch;
  float *x = weights + WEIGHT_FLOATS;
  float *sums = x + X_FLOATS;
  const int groups = num_groups(args.weight), num_panels = panels.end - panels.begin;
  memset(sums, 0, (size_t)rows * num_panels * PANEL * sizeof(float));
  for (int g0 = 0; g0 < groups; g0 += STAGE_GROUPS) {
    const int count = groups - g0 < STAGE_GROUPS ? groups - g0 : STAGE_GROUPS;
    for (int p = 0; p < num_panels; p++) {
      const uint8_t *packed = panel_data<F>(args.weight, panels.begin + p);
      const uint8_t *next = panel_data<F>(args.weight, panels.end + p);
      for (int g = 0; g < count; g++) {
        prefetch<F, L2>(group_data<F>(next, g0 + g));
        stage<F>(Group<F>(packed, g0 + g), weights + (p * STAGE_GROUPS + g) * STAGED_FLOATS);
      }
    }
    for (int row = 0; row < rows; row += ROW_BLOCK) {
      const int block = rows - row < ROW_BLOCK ? rows - row : ROW_BLOCK;
      for (int r = 0; r < block; r++)
        expand(args.x + (first_row + row + r) * args.x_stride + g0 * CHUNK, count * CHUNK,
               x + r * STAGE_GROUPS * CHUNK);
      for (int p = 0; p < num_panels;) {
        const float *from = weights + p * STAGE_GROUPS * STAGED_FLOATS;
        float *to = sums + (size_t)rows * p * PANEL;
        if (num_panels - p >= PANEL_BLOCK) {
          staged_rows<ROW_BLOCK, PANEL_BLOCK>(block, from, count, x, to + row * PANEL_BLOCK * PANEL);
          p += PANEL_BLOCK;
        } else {
          staged_rows<ROW_BLOCK, 1>(block, from, count, x, to + row * PANEL);
          p++;
        }
      }
    }
  }
  for (int p = 0; p < num_panels;) {
    const int width = num_panels - p < PANEL_BLOCK ? 1 : PANEL_BLOCK;
    add_columns(args, panels.begin + p, width, first_row, rows, sums + (size_t)rows * p * PANEL);
    p += width;
  }
}

template <WeightFormat F>
static void many_rows_item(const LinearArgs &args, PanelRange range, uint8_t *scratch) {
  for (int begin = range.begin; begin < range.end; begin += STAGE_PANELS) {
    const int end = begin + STAGE_PANELS < range.end ? begin + STAGE_PANELS : range.end;
    for (int row = 0; row < args.num_rows; row += MAX_SUM_ROWS)
      staged_panels<F>(args, {begin, end}, row, rows_from(args, row), (float *)scratch);
  }
}

OCTAVO_INLINE void prepare_thread() {}
OCTAVO_INLINE void release_thread() {}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
