// Digits of more rows than a block has: of a block of panels a few groups at a time are unpacked to bytes,
// which stay in L1 while every block of rows passes over them. The sums wait in memory meanwhile, as fp32 and
// so exactly, which leaves the registers to a block's integers.
#pragma once
#include "linear_int8_block.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int BLOCK_PANELS = PARTS == 1 ? 2 : 1; // that share what is loaded of a row
constexpr int STAGED_GROUPS = 8;
constexpr int STAGED_ROWS = 96; // whose sums wait at a time

// Of a block. Q6_K's halves are two sums.
template <class Dot, WeightFormat F>
constexpr int BLOCK_ROWS =
    (F == WeightFormat::Q6_K && Dot::MAX_SUMS > 12 ? 12 : Dot::MAX_SUMS) / BLOCK_PANELS;

// A group as its integers' quads and numbers of its own.
template <WeightFormat F> struct StagedGroup {
  Bits quads[QUADS];
  Vec scale, minimum, steps[2]; // minimum and steps: of formats that have them

  OCTAVO_INLINE_MEMBER void unpack(const Group<F> &group) {
#pragma GCC unroll 8
    for (int j = 0; j < QUADS; j++)
      quads[j] = group.quad(j);
    scale = group.scale;
    if constexpr (Integers<F>::HAS_MINIMUM)
      minimum = group.minimum;
    if constexpr (F == WeightFormat::Q6_K)
      memcpy(steps, group.steps, sizeof steps);
  }
  OCTAVO_INLINE_MEMBER const Bits &quad(int j) const { return quads[j]; }
};

template <WeightFormat F> using StagedBlock = StagedGroup<F>[BLOCK_PANELS];

// Some groups of a block's panels.
struct Stretch {
  const LinearWeight *weight;
  int panel, begin, count;

  template <WeightFormat F> OCTAVO_INLINE_MEMBER const uint8_t *packed(int p) const {
    return panel_data<F>(*weight, panel + p);
  }
  // Its share while rows [begin, end) of `rows` are multiplied by what comes before it: all at once would
  // wait for each other.
  template <WeightFormat F> OCTAVO_INLINE_MEMBER void fetch(int row_begin, int row_end, int rows) const {
    for (int g = count * row_begin / rows; g < count * row_end / rows && g < count; g++)
      for (int p = 0; p < BLOCK_PANELS; p++)
        prefetch<F, L1>(group_data<F>(packed<F>(p), begin + g));
  }
};

OCTAVO_INLINE Stretch stretch_at(const LinearWeight &weight, int panel, int begin) {
  const int groups = num_groups(weight);
  if (begin == groups)
    return stretch_at(weight, panel + BLOCK_PANELS, 0);
  return {&weight, panel, begin, groups - begin < STAGED_GROUPS ? groups - begin : STAGED_GROUPS};
}

// R rows, of which the last ones may be of no row. sums: [R][BLOCK_PANELS] panels.
template <class Dot, WeightFormat F, int R>
static void staged_rows(const StagedBlock<F> *staged, int groups, DigitRows x, float *sums) {
  constexpr int P = BLOCK_PANELS;
  for (int g = 0; g < groups; g++, x.first++) {
    Vec values[R][P];
    sum_group<Dot, F, R, P>(staged[g], x, values);
#pragma GCC unroll 2
    for (int p = 0; p < P; p++)
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        float *sum = sums + (r * P + p) * PANEL;
        store(sum, add_group<F>(load(sum), values[r][p], staged[g][p], x[r]));
      }
    asm("" ::: "memory"); // no sums in registers: the integers need all of them
  }
}

// The block of fewest rows that has room for `rows`; an empty one costs less than code for each number.
template <class Dot, WeightFormat F, int R>
static void staged_block(const StagedBlock<F> *staged, int groups, const DigitRows &x, int rows,
                         float *sums) {
  constexpr int FEWER = R - (BLOCK_ROWS<Dot, F> + 2) / 3;
  if constexpr (FEWER > 0)
    if (rows <= FEWER)
      return staged_block<Dot, F, FEWER>(staged, groups, x, rows, sums);
  staged_rows<Dot, F, R>(staged, groups, x, sums);
}

// A block of panels with `rows` (at most STAGED_ROWS) rows.
template <class Dot, WeightFormat F>
static void staged_panels(const LinearArgs &args, int panel, int first_row, int rows) {
  constexpr int BLOCK = BLOCK_ROWS<Dot, F>, WIDTH = BLOCK_PANELS * PANEL;
  static_assert(STAGED_ROWS % BLOCK == 0, "the last block would write beyond the sums");
  alignas(64) StagedBlock<F> staged[STAGED_GROUPS];
  alignas(64) float sums[STAGED_ROWS * WIDTH];
  memset(sums, 0, sizeof(float) * STAGED_ROWS * WIDTH);
  Stretch now = stretch_at(args.weight, panel, 0);
  while (now.panel == panel) {
    for (int g = 0; g < now.count; g++)
      for (int p = 0; p < BLOCK_PANELS; p++)
        staged[g][p].unpack(Group<F>(now.packed<F>(p), now.begin + g));
    const Stretch next = stretch_at(args.weight, panel, now.begin + now.count);
    for (int row = 0; row < rows; row += BLOCK) {
      next.fetch<F>(row, row + BLOCK, rows);
      const DigitGroup *first = args.digits + (first_row + row) * args.digits_stride + now.begin;
      staged_block<Dot, F, BLOCK>(staged, now.count, {first, args.digits_stride}, rows - row,
                                  sums + row * WIDTH);
    }
    now = next;
  }
  add_columns(args, panel, BLOCK_PANELS, first_row, rows, sums);
}

template <class Dot, WeightFormat F> static void many_rows(const LinearArgs &args, int panel) {
  for (int row = 0; row < args.num_rows; row += STAGED_ROWS) {
    const int rows = args.num_rows - row < STAGED_ROWS ? args.num_rows - row : STAGED_ROWS;
    staged_panels<Dot, F>(args, panel, row, rows);
  }
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
