// The part of the executor that computes gate and up projections together with their activation: the sums of
// a stretch of columns lie in the thread's scratch until ACT_MUL, which looks at one column at a time, takes
// them. They are never written to memory that all threads share, which costs more than multiplying does.
#include <algorithm>

#include "executor.h"
#include "repack.h"

namespace octavo {

// Columns [first, first + count) of a layer, within one segment and from a panel's first on.
LinearArgs Executor::columns_of(const OpDesc &op, int64_t first, int32_t count) const {
  const WeightDesc &weight = desc_.weights[op.weight];
  int64_t column = first;
  int segment = 0;
  for (; column >= weight.segments[segment].num_columns; segment++)
    column -= weight.segments[segment].num_columns;
  LinearArgs args = linear_args(op, segment, first);
  const size_t panel_bytes = octavo_packed_bytes((int32_t)args.weight.format, PANEL, args.weight.depth);
  args.weight.data += column / PANEL * panel_bytes;
  args.weight.num_columns = count;
  return args;
}

int Executor::gated_items(const Phase &phase) const {
  const int64_t width = desc_.ops[phase.begin + 1].as<ActMulAttrs>().width;
  return rows_of(desc_.ops[phase.begin].output) ? (int)((width + GATED_COLUMNS - 1) / GATED_COLUMNS) : 0;
}

void Executor::run_gated(const Phase &phase, int item, int thread) {
  const OpDesc &linear = desc_.ops[phase.begin], &activation = desc_.ops[phase.begin + 1];
  ActMulAttrs attrs = activation.as<ActMulAttrs>();
  const int64_t width = attrs.width, first = (int64_t)item * GATED_COLUMNS;
  attrs.width = std::min<int64_t>(width - first, GATED_COLUMNS);
  float *sums = (float *)(scratch(thread) + workspace_.gated_offset);
  for (int half = 0; half < 2; half++) {
    LinearArgs args = columns_of(linear, half * width + first, (int32_t)attrs.width);
    args.y = sums + half * attrs.width;
    args.y_stride = GATED_STRIDE;
    for (int i = 0; i < kernels_.linear_num_items(args); i++)
      run_linear_item(args, i, thread);
  }
  kernels_.act_mul_rows(sums, GATED_STRIDE, bf16_row(activation.output, 0) + first, stride(activation.output),
                        rows_of(linear.output), attrs);
  if (phase.end - phase.begin < 3)
    return;
  const OpDesc &quantize = desc_.ops[phase.begin + 2];
  for (int row = 0; row < rows_of(linear.output); row++)
    kernels_.quantize_groups(bf16_row(activation.output, row) + first,
                             digits_row(quantize.output, row) + first / CHUNK, 1);
}

} // namespace octavo
