// What the ways to compute a linear layer share: the order of operations, where panels lie, where sums go.
#pragma once
#include "unpack.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int MAX_SUM_ROWS = 1024; // rows whose sums wait in scratch at one time
constexpr int MAX_ITEMS = 128;     // of a layer
constexpr int ITEM_PANELS = 2;     // an item holds a multiple of these

struct PanelRange {
  int begin, end;
};

OCTAVO_INLINE int num_panels(const LinearWeight &weight) { return (weight.num_columns + PANEL - 1) / PANEL; }
OCTAVO_INLINE int num_groups(const LinearWeight &weight) { return (int)octavo::num_groups(weight.depth); }

OCTAVO_INLINE int pairs_of_panels(const LinearWeight &weight) {
  return (num_panels(weight) + ITEM_PANELS - 1) / ITEM_PANELS;
}
OCTAVO_INLINE int pairs_per_item(const LinearWeight &weight) {
  return (pairs_of_panels(weight) + MAX_ITEMS - 1) / MAX_ITEMS;
}

OCTAVO_INLINE PanelRange panels_of_item(const LinearWeight &weight, int item) {
  const int per_item = pairs_per_item(weight) * ITEM_PANELS, panels = num_panels(weight);
  const int begin = item * per_item, end = begin + per_item;
  return {begin, end < panels ? end : panels};
}

// A format as a type: its value, where a constant is wanted, is what calling it returns.
template <WeightFormat F> struct FormatConstant {
  constexpr WeightFormat operator()() const { return F; }
};

template <class Fn> OCTAVO_INLINE void with_format(WeightFormat format, Fn &&fn) {
  switch (format) {
  case WeightFormat::BF16:
    return fn(FormatConstant<WeightFormat::BF16>());
  case WeightFormat::Q8_0:
    return fn(FormatConstant<WeightFormat::Q8_0>());
  case WeightFormat::Q4_1:
    return fn(FormatConstant<WeightFormat::Q4_1>());
  case WeightFormat::Q4_0:
    return fn(FormatConstant<WeightFormat::Q4_0>());
  case WeightFormat::Q5_0:
    return fn(FormatConstant<WeightFormat::Q5_0>());
  case WeightFormat::Q5_1:
    return fn(FormatConstant<WeightFormat::Q5_1>());
  case WeightFormat::Q4_K:
    return fn(FormatConstant<WeightFormat::Q4_K>());
  case WeightFormat::Q5_K:
    return fn(FormatConstant<WeightFormat::Q5_K>());
  case WeightFormat::Q6_K:
    return fn(FormatConstant<WeightFormat::Q6_K>());
  }
}

template <WeightFormat F> OCTAVO_INLINE const uint8_t *panel_data(const LinearWeight &weight, int panel) {
  return span_data<F>(weight.data, panel * (num_groups(weight) / Group<F>::SPAN));
}

OCTAVO_INLINE int rows_from(const LinearArgs &args, int row) {
  return args.num_rows - row < MAX_SUM_ROWS ? args.num_rows - row : MAX_SUM_ROWS;
}

// bf16 to fp32; width is a multiple of 32, of which the even k come first and then the odd.
OCTAVO_INLINE void expand(const bf16 *x, int width, float *out) {
  for (int k = 0; k < width; k += CHUNK) {
    const Bits pairs = load_bits((const uint8_t *)(x + k));
    store(out + k, as_float(shift_left(pairs, 16)));
    store(out + k + PAIRS, as_float(bit_and(pairs, BF16_MASK)));
  }
}

// chains[r][p] += w[p] * x[r * x_stride].
template <int R, int P>
OCTAVO_INLINE void add_products(Vec (&w)[P], const float *x, int64_t x_stride, Vec (&chains)[R][P]) {
  if (R > 1)
    keep_in_registers(w);
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    const Vec x_row = broadcast(x[r * x_stride]);
#pragma GCC unroll 2
    for (int p = 0; p < P; p++)
      chains[r][p] = fma(w[p], x_row, chains[r][p]);
  }
}

// The order of operations. sums[r][p] += one chunk of 32 k, as a chain of fma over the even k and one over
// the odd k, both from +0, added to each other first. R rows of x (expanded, x_stride apart), P panels.
//
// Where weights are unpacked on the way, a few pairs are taken at a time: their instructions depend on each
// other, so that a processor that looks ahead a hundred of them finds too little to do in one pair.
template <int R, int P, class Source>
OCTAVO_INLINE void chunk(const Source (&weights)[P], const float *x, int64_t x_stride, float *sums) {
  constexpr int AHEAD = R == 1 ? Source::PAIRS_AHEAD : R <= 8 ? (Source::PAIRS_AHEAD + 3) / 4 : 1;
  Vec even[R][P], odd[R][P];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 2
    for (int p = 0; p < P; p++)
      even[r][p] = odd[r][p] = zero();
#pragma GCC unroll 16
  for (int first = 0; first < PAIRS; first += AHEAD) {
    Vec w_even[AHEAD][P], w_odd[AHEAD][P];
#pragma GCC unroll 16
    for (int i = 0; i < AHEAD; i++)
#pragma GCC unroll 2
      for (int p = 0; p < P; p++)
        weights[p].pair(first + i, w_even[i][p], w_odd[i][p]);
    if (AHEAD > 1) {
#pragma GCC unroll 16
      for (int i = 0; i < AHEAD; i++) {
        keep_in_registers(w_even[i]);
        keep_in_registers(w_odd[i]);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < AHEAD; i++) {
      const float *x_pair = x + first + i;
      add_products(w_even[i], x_pair, x_stride, even);
      add_products(w_odd[i], x_pair + PAIRS, x_stride, odd);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 2
    for (int p = 0; p < P; p++) {
      float *sum = sums + (r * P + p) * PANEL;
      store(sum, add(load(sum), add(even[r][p], odd[r][p])));
    }
}

// What a sum becomes once it is complete.
OCTAVO_INLINE Vec finished(const LinearArgs &args, const Vec &sum, int column, const float *y) {
  Vec result = args.bias ? add(sum, load(args.bias + column)) : sum;
  result = args.scale != 1.0f ? multiply(result, broadcast(args.scale)) : result;
  return args.has_residual ? add(load(y), result) : result;
}
OCTAVO_INLINE float finished(const LinearArgs &args, float sum, int column, const float *y) {
  float result = args.bias ? sum + args.bias[column] : sum;
  result = args.scale != 1.0f ? result * args.scale : result;
  return args.has_residual ? *y + result : result;
}

// Writes sums[rows][num_panels * 16] to their columns of y, of which the last panel may have fewer than 16.
static void add_columns(const LinearArgs &args, int panel, int num_panels, int first_row, int rows,
                        const float *sums) {
  const int first_column = panel * PANEL, width = num_panels * PANEL;
  const int columns =
      args.weight.num_columns - first_column < width ? args.weight.num_columns - first_column : width;
  for (int r = 0; r < rows; r++, sums += width) {
    float *y = args.y + (first_row + r) * args.y_stride + first_column;
    int c = 0;
    for (; c + PANEL <= columns; c += PANEL)
      store(y + c, finished(args, load(sums + c), first_column + c, y + c));
    for (; c < columns; c++)
      y[c] = finished(args, sums[c], first_column + c, y + c);
  }
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
