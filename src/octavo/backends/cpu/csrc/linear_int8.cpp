// y[m, n] = sum over k of x[m, k] * w[n, k] with digits of x: sums of integers over 32 k, and what they are
// worth in fp32, in the one order that docs/exactness.md defines.
//
// A work item is a few panels with all rows. Few rows keep their sums in registers while a panel passes,
// unpacked on the way; for more rows it is unpacked to memory: linear_int8_staged.h.
#include "linear.h"
#include "linear_int8_staged.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

// Of a block: as many as have room in registers, each for its sum and its integers, in Q6_K for those of both
// halves.
#if defined(__AVX512F__)
template <WeightFormat F> constexpr int MAX_ROWS = F == WeightFormat::Q6_K ? 8 : 12;
#elif defined(__AVX2__)
template <WeightFormat> constexpr int MAX_ROWS = 3;
#else
template <WeightFormat> constexpr int MAX_ROWS = 2;
#endif
// Rows for which unpacking on the way costs less than writing to memory: digits of 4 bits take two
// operations.
template <WeightFormat F>
constexpr int FEW_ROWS = Integers<F>::LARGEST > 15 ? (PARTS == 1 ? 2 : 1) * MAX_ROWS<F>
                         : PARTS == 1              ? 48
                                                   : 6;
constexpr int STREAM_BYTES = 6144; // ahead: one panel follows the other

// R rows, of which the last ones may be of no row: they are multiplied and dropped.
template <class Dot, WeightFormat F, int R>
static void panel_rows(const LinearArgs &args, int panel, int first_row, int rows) {
  const int groups = num_groups(args.weight);
  const uint8_t *packed = panel_data<F>(args.weight, panel);
  DigitRows x = {args.digits + first_row * args.digits_stride, args.digits_stride};
  Vec sums[R] = {};
  for (int g = 0; g < groups; g++, x.first++) {
    prefetch<F, L1>(group_data<F>(packed, g) + STREAM_BYTES);
    const Group<F> group[1] = {Group<F>(packed, g)};
    Vec values[R][1];
    sum_group<Dot, F, R, 1>(group, x, values);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
      sums[r] = add_group<F>(sums[r], values[r][0], group[0], x[r]);
  }
  alignas(64) float columns[R * PANEL];
  for (int r = 0; r < R; r++)
    store(columns + r * PANEL, sums[r]);
  add_columns(args, panel, 1, first_row, rows, columns);
}

// The block of fewest rows that has room for `rows`; an empty one costs less than code for each number.
template <class Dot, WeightFormat F, int R>
static void block_rows(const LinearArgs &args, int panel, int first_row, int rows) {
  constexpr int FEWER = R > 4 ? R - 2 : R - 1;
  if constexpr (FEWER > 0)
    if (rows <= FEWER)
      return block_rows<Dot, F, FEWER>(args, panel, first_row, rows);
  panel_rows<Dot, F, R>(args, panel, first_row, rows);
}

template <class Dot, WeightFormat F> static void format_item(const LinearArgs &args, PanelRange panels) {
  int panel = panels.begin;
  if (args.num_rows > FEW_ROWS<F>)
    for (; panel + BLOCK_PANELS <= panels.end; panel += BLOCK_PANELS)
      many_rows<Dot, F>(args, panel);
  for (; panel < panels.end; panel++)
    for (int row = 0; row < args.num_rows; row += MAX_ROWS<F>) {
      const int rows = args.num_rows - row < MAX_ROWS<F> ? args.num_rows - row : MAX_ROWS<F>;
      block_rows<Dot, F, MAX_ROWS<F>>(args, panel, row, rows);
    }
}

template <class Dot> static void any_item(const LinearArgs &args, int item) {
  const PanelRange panels = panels_of_item(args.weight, item);
  with_format(args.weight.format, [&](auto format) {
    if constexpr (format() != WeightFormat::BF16) // linear_item's
      format_item<Dot, format()>(args, panels);
  });
}

} // namespace

#if defined(__AVX2__)
void linear_int8_item_vnni(const LinearArgs &args, int item) { any_item<DotVnni>(args, item); }
#endif

void linear_int8_item(const LinearArgs &args, int item) {
#if defined(__AVX512VNNI__)
  any_item<DotVnni>(args, item);
#elif defined(__AVX2__)
  any_item<DotPairs>(args, item);
#else
  any_item<DotWords>(args, item);
#endif
}

} // namespace OCTAVO_KERNEL_NAMESPACE
