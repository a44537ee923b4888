// y[m, n] = sum over k of x[m, k] * w[n, k] with digits of x: sums of integers over 32 k, and what they are
// worth in fp32, in the one order that docs/exactness.md defines.
//
// A work item is a few panels with all rows. A block of rows keeps its sums in registers while a panel
// passes, unpacked on the way: from memory for the first block, from a cache for those that follow.
#include "linear.h"
#include "linear_int8_block.h"

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
constexpr int STREAM_BYTES = 4096; // ahead: one panel follows the other

// One group of several rows.
struct DigitRows {
  const DigitGroup *first;
  int64_t stride; // groups from row to row

  OCTAVO_INLINE_MEMBER const DigitGroup &operator[](int row) const { return first[row * stride]; }
};

// Of `count` quads from quad `begin` on, all or a half: sums of products, exact in fp32.
template <class Dot, WeightFormat F, int R>
OCTAVO_INLINE void sum_products(const Group<F> &group, const DigitRows &x, int begin, int count,
                                Vec (&values)[R]) {
  constexpr bool SIGNED = Integers<F>::SIGNED;
  constexpr int ZERO = SIGNED ? (int)Dot::ZERO_OF_SIGNED : Integers<F>::ZERO;
  typename Dot::template Sum<Integers<F>::LARGEST, SIGNED> sums[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    const int32_t *halves = x[r].sums;
    const int32_t digits = count == QUADS ? halves[0] + halves[1] : halves[2 * begin / QUADS];
    sums[r].begin(ZERO ? -ZERO * digits : 0);
  }
#pragma GCC unroll 8
  for (int i = 0; i < count; i++) {
    const typename Dot::template Quad<SIGNED> quad(group.quad(begin + i));
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
      sums[r].add(quad, x[r].digits + 4 * (begin + i), i);
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
    values[r] = to_float(sums[r].value());
}

// Sums of one group as they come, or of Q6_K's halves by their own integer scales: exact too.
template <class Dot, WeightFormat F, int R>
OCTAVO_INLINE void sum_group(const Group<F> &group, const DigitRows &x, Vec (&values)[R]) {
  if constexpr (F == WeightFormat::Q6_K) {
    Vec second[R];
    sum_products<Dot, F, R>(group, x, 0, QUADS / 2, values);
    sum_products<Dot, F, R>(group, x, QUADS / 2, QUADS / 2, second);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
      values[r] = join_halves(group, values[r], second[r]);
  } else {
    sum_products<Dot, F, R>(group, x, 0, QUADS, values);
  }
}

template <class Dot, WeightFormat F, int R>
OCTAVO_INLINE void add_rows(const Group<F> &group, const DigitRows &x, Vec (&sums)[R]) {
  Vec values[R];
  sum_group<Dot, F, R>(group, x, values);
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
    sums[r] = add_group<F>(sums[r], values[r], group, x[r]);
}

// R rows, of which the last ones may be of no row: they are multiplied and dropped.
template <class Dot, WeightFormat F, int R>
static void panel_rows(const LinearArgs &args, int panel, int first_row, int rows) {
  const int groups = num_groups(args.weight);
  const uint8_t *packed = panel_data<F>(args.weight, panel);
  DigitRows x = {args.digits + first_row * args.digits_stride, args.digits_stride};
  Vec sums[R] = {};
  for (int g = 0; g < groups; g++, x.first++) {
    prefetch<F, L1>(group_data<F>(packed, g) + STREAM_BYTES);
    add_rows<Dot, F, R>(Group<F>(packed, g), x, sums);
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
  for (int panel = panels.begin; panel < panels.end; panel++)
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

#if defined(__AVX512F__)
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
