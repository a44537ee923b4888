// y[m, n] = sum over k of x[m, k] * w[n, k], in the one order every build keeps: chunk() in linear_block.h.
//
// A work item is a few panels of 16 columns with all rows. Few rows: a panel is unpacked in registers as it
// streams from memory. More rows: linear_staged.h or, with tiles, linear_amx.h.
#include "linear.h"
#include "column_best.h"
#include "linear_block.h"
#if defined(OCTAVO_ISA_amx)
#include "linear_amx.h"
#else
#include "linear_staged.h"
#endif

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

// ---- few rows: one panel at a time, unpacked in registers; scratch is [rows of x as fp32][sums] ----

constexpr int STREAM_BYTES = 4096; // ahead: one panel follows the other

// R sums, of which the last ones may be of no row.
template <WeightFormat F, int R>
static void few_rows_panel(const LinearArgs &args, int panel, const float *x, float *sums) {
  const int groups = num_groups(args.weight);
  const uint8_t *packed = panel_data<F>(args.weight, panel);
  memset(sums, 0, R * PANEL * sizeof(float));
  for (int g = 0; g < groups; g++) {
    prefetch<F, L1>(group_data<F>(packed, g) + STREAM_BYTES);
    const Packed<F> weights[1] = {{Group<F>(packed, g)}};
    chunk<R, 1>(weights, x + g * CHUNK, (int64_t)groups * CHUNK, sums);
  }
  add_columns(args, panel, 1, 0, args.num_rows, sums);
}

// Not every number of rows has its own code: an empty one costs less than unpacking for it.
constexpr int more_rows(int rows) { return rows < 4 ? rows + 1 : rows + 2; }

template <WeightFormat F, int R>
static void few_rows_item(const LinearArgs &args, PanelRange range, float *scratch) {
  if constexpr (R < FEW_ROWS)
    if (args.num_rows > R)
      return few_rows_item<F, more_rows(R)>(args, range, scratch);
  const int width = num_groups(args.weight) * CHUNK;
  for (int r = 0; r < args.num_rows; r++)
    expand(args.x + r * args.x_stride, width, scratch + (int64_t)r * width);
  for (int r = args.num_rows; r < R; r++)
    memset(scratch + (int64_t)r * width, 0, width * sizeof(float));
  for (int panel = range.begin; panel < range.end; panel++)
    few_rows_panel<F, R>(args, panel, scratch, scratch + (int64_t)R * width);
}

// ---- items ----

template <WeightFormat F>
static void format_item(const LinearArgs &args, PanelRange range, uint8_t *scratch) {
  if constexpr (FEW_ROWS > 0)
    if (args.num_rows <= FEW_ROWS)
      return few_rows_item<F, 1>(args, range, (float *)scratch);
  many_rows_item<F>(args, range, scratch);
}

template <WeightFormat F> static void format_row(const LinearWeight &weight, int32_t row, float *out) {
  const uint8_t *panel = panel_data<F>(weight, row / PANEL);
  for (int k = 0; k < weight.depth; k += CHUNK) {
    alignas(64) float unpacked[STAGED_FLOATS];
    stage<F>(Group<F>(panel, k / CHUNK), unpacked);
    for (int j = 0; j < CHUNK && k + j < weight.depth; j++)
      out[k + j] = unpacked[j * PANEL + row % PANEL];
  }
}

} // namespace

int linear_num_items(const LinearArgs &args) {
  const int per_item = pairs_per_item(args.weight);
  return (pairs_of_panels(args.weight) + per_item - 1) / per_item;
}

void linear_item(const LinearArgs &args, int item, uint8_t *scratch) {
  const PanelRange range = panels_of_item(args.weight, item);
  with_format(args.weight.format, [&](auto format) { format_item<format()>(args, range, scratch); });
}

ColumnBest best_of_item(const LinearArgs &args, int item, int row) {
  const PanelRange range = panels_of_item(args.weight, item);
  const int end = range.end * PANEL < args.weight.num_columns ? range.end * PANEL : args.weight.num_columns;
  return best_of_columns(args.y + row * args.y_stride, range.begin * PANEL, end);
}

size_t linear_scratch_bytes(int32_t depth) {
  const size_t width = octavo::num_groups(depth) * CHUNK;
  const size_t few = FEW_ROWS * (width + PANEL) * sizeof(float);
  return few > MANY_ROWS_SCRATCH_BYTES ? few : MANY_ROWS_SCRATCH_BYTES;
}

void unpack_row(const LinearWeight &weight, int32_t row, float *out) {
  with_format(weight.format, [&](auto format) { format_row<format()>(weight, row, out); });
}

void thread_begin() { prepare_thread(); }
void thread_end() { release_thread(); }

} // namespace OCTAVO_KERNEL_NAMESPACE
