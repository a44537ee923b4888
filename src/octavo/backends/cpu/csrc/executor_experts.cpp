// The part of the executor that deals with mixtures of experts: rows in order of expert, and an expert's rows
// through its layer. What a row yields does not depend on which others share its experts.
#include <algorithm>
#include <cstring>

#include "executor.h"

namespace octavo {

// By counting: experts ascending, the rows of each ascending.
void Executor::order_by_expert(const OpDesc &dispatch) {
  const DispatchAttrs &attrs = dispatch.as<DispatchAttrs>();
  const int top_k = (int)attrs.top_k, num_experts = (int)attrs.num_experts;
  const int num_pairs = step_.num_tokens * top_k;
  const auto expert_of = [&](int pair) { return (int)f32_row(dispatch.routes, pair / top_k)[pair % top_k]; };
  std::fill(expert_begin_.begin(), expert_begin_.end(), 0);
  for (int pair = 0; pair < num_pairs; pair++)
    expert_begin_[expert_of(pair) + 2]++;
  busy_experts_.clear();
  for (int expert = 0; expert < num_experts; expert++) {
    if (expert_begin_[expert + 2] > 0)
      busy_experts_.push_back(expert);
    expert_begin_[expert + 2] += expert_begin_[expert + 1];
  }
  num_busy_experts_.store((int32_t)busy_experts_.size(), std::memory_order_relaxed);
  // Entry e + 1 moves from the first place of expert e to the one behind its last: the first of e + 1.
  for (int pair = 0; pair < num_pairs; pair++) {
    const int place = expert_begin_[expert_of(pair) + 1]++;
    place_of_[pair] = place;
    pair_of_[place] = pair;
  }
}

void Executor::run_dispatch(const OpDesc &op, int row) {
  const int source = pair_of_[row] / (int)op.as<DispatchAttrs>().top_k;
  memcpy(bf16_row(op.output, row), bf16_row(op.input, source), sizeof(bf16) * desc_.buffers[op.input].width);
}

void Executor::run_combine(const OpDesc &op, int row) {
  const CombineAttrs &attrs = op.as<CombineAttrs>();
  const int top_k = (int)attrs.top_k;
  const float *rows[MAX_EXPERTS_PER_TOKEN];
  for (int rank = 0; rank < top_k; rank++)
    rows[rank] = f32_row(op.input, place_of_[row * top_k + rank]);
  kernels_.combine_row(rows, f32_row(op.routes, row) + top_k, f32_row(op.output, row),
                       (int)desc_.buffers[op.output].width, attrs);
}

LinearArgs Executor::expert_args(const OpDesc &op, int expert, int segment, int64_t column) const {
  const Range rows = {expert_begin_[expert], expert_begin_[expert + 1]};
  return segment_args(op, op.weight + expert, segment, column, rows);
}

// Of one expert; all have layers of one shape.
int Executor::expert_items(const OpDesc &op) const {
  int items = 0;
  for (int s = 0; s < desc_.weights[op.weight].num_segments; s++)
    items += kernels_.linear_num_items(expert_args(op, 0, s, 0));
  return items;
}

void Executor::run_expert_linear(const OpDesc &op, int item, int thread) {
  const int per_expert = expert_items(op), expert = busy_experts_[item / per_expert];
  item %= per_expert;
  int64_t column = 0;
  for (int s = 0; s < desc_.weights[op.weight + expert].num_segments; s++) {
    const LinearArgs args = expert_args(op, expert, s, column);
    const int items = kernels_.linear_num_items(args);
    if (item < items)
      return run_linear_item(args, item, thread);
    item -= items;
    column += args.weight.num_columns;
  }
}

} // namespace octavo
