#include "executor.h"

#include <algorithm>
#include <cstring>

#include "float_mode.h"
#include "tables.h"

namespace octavo {

namespace {

// core/step.py, CopyKind
constexpr int32_t BLOCK_TO_TIER = 0, TIER_TO_BLOCK = 1, BLOCK_TO_BLOCK = 2;

constexpr int ROWS_PER_ITEM = 4; // of a row-wise op

constexpr size_t LEAST_AHEAD = 64 << 20; // bytes of KV blocks
constexpr size_t TOUCHED_AT_ONCE = 2 << 20;

bool is_rowwise(OpKind kind) {
  return kind == OpKind::EMBED || kind == OpKind::NORM || kind == OpKind::ROPE || kind == OpKind::KV_WRITE ||
         kind == OpKind::ACT_MUL || kind == OpKind::GATHER || kind == OpKind::SCALE ||
         kind == OpKind::ROUTE || kind == OpKind::DISPATCH || kind == OpKind::COMBINE ||
         kind == OpKind::QUANTIZE;
}

} // namespace

Executor::Executor(const ExecutorDesc &desc, const KernelTable &kernels)
    : desc_(desc), kernels_(kernels), workspace_(desc, kernels),
      block_tables_((size_t)desc.num_kv_groups * desc.max_seqs * workspace_.blocks_per_slot),
      buffers_(workspace_.buffer_bytes), scratch_(workspace_.scratch_bytes * desc.num_threads),
      blocks_((size_t)desc.num_blocks * workspace_.block_bytes),
      tier_((size_t)desc.num_tier_blocks * workspace_.block_bytes), sampler_(desc),
      column_best_((size_t)desc.max_seqs * workspace_.num_head_items), token_ids_(desc.max_tokens),
      row_request_(desc.max_tokens), positions_(desc.max_tokens), team_(desc.num_threads) {
  buffers_.touch();
  scratch_.touch();
  plan_phases();
  plan_head();
  make_rope_tables();
  tiles_.reserve(desc.max_tokens);
  sampled_.reserve(desc.max_seqs);
  first_sampled_.reserve(desc.max_seqs);
}

// Consecutive row-wise ops share a phase: a row's values only depend on that row.
void Executor::plan_phases() {
  for (int i = 0; i < desc_.num_ops; i++) {
    const OpKind kind = desc_.ops[i].kind;
    const bool has_own_rows = kind == OpKind::GATHER || kind == OpKind::DISPATCH;
    if (kind == OpKind::DISPATCH) {
      const DispatchAttrs &attrs = desc_.ops[i].as<DispatchAttrs>();
      pair_of_.resize(desc_.max_tokens * attrs.top_k);
      place_of_.resize(desc_.max_tokens * attrs.top_k);
      expert_begin_.resize(attrs.num_experts + 2);
      busy_experts_.reserve(attrs.num_experts);
      phases_.push_back({i, i});
    }
    if (i > 0 && is_gated(desc_, i - 1))
      phases_.back() = {i - 1, i + 1, true};
    else if (i > 0 && kind == OpKind::QUANTIZE && phases_.back().is_gated &&
             desc_.ops[i].input == desc_.ops[i - 1].output)
      phases_.back().end = i + 1;
    else if (i > 0 && is_rowwise(kind) && is_rowwise(desc_.ops[i - 1].kind) && !has_own_rows &&
             !phases_.back().is_gated)
      phases_.back().end = i + 1;
    else
      phases_.push_back({i, i + 1});
  }
  items_ = std::make_unique<Items[]>(phases_.size() + 1);
}

void Executor::make_rope_tables() {
  for (int t = 0; t < desc_.num_rope_tables; t++) {
    const RopeTableDesc &desc = desc_.rope_tables[t];
    const size_t count = (size_t)desc_.max_model_len * desc.num_pairs;
    Memory memory(2 * count * sizeof(float), Memory::Pages::SMALL);
    float *cos = (float *)memory.data(), *sin = cos + count;
    rope_table(desc_.max_model_len, (int32_t)desc.num_pairs, desc.frequencies, desc.attention_factor, cos,
               sin);
    rope_tables_.push_back({std::move(memory), desc.num_pairs, cos, sin});
  }
}

std::string Executor::check(const StepDesc &step) const {
  if (step.num_tokens > desc_.max_tokens || step.num_requests > desc_.max_seqs)
    return "the step is larger than the executor was built for";
  for (int i = 0; i < step.num_admitted; i++)
    if (const char *refusal = sampler_.check(step.admitted[i]); *refusal)
      return refusal;
  for (int i = 0; i < step.num_new_blocks; i++) {
    const int32_t *entry = step.new_blocks + 4 * i;
    if (entry[0] < 0 || entry[0] >= desc_.max_seqs || entry[1] < 0 || entry[1] >= desc_.num_kv_groups ||
        entry[2] < 0 || entry[2] >= workspace_.blocks_per_slot || entry[3] < 0 ||
        entry[3] >= desc_.num_blocks)
      return "new_blocks names a slot, group, index or block that does not exist";
  }
  for (int r = 0; r < step.num_requests; r++) {
    const int32_t rows = step.query_start[r + 1] - step.query_start[r];
    if (step.slot[r] < 0 || step.slot[r] >= desc_.max_seqs ||
        step.num_computed[r] + rows > desc_.max_model_len)
      return "a request names no slot or is longer than max_model_len";
  }
  for (int t = 0; t < step.num_tokens; t++)
    if (step.token_ids[t] < -1 || step.token_ids[t] >= desc_.vocab_size)
      return "a token id lies outside the vocabulary";
  return check_outputs(step);
}

void Executor::forward(const StepDesc &step, const ResultDesc &results) {
  step_ = step;
  results_ = results;
  clock_.start(results.phase_seconds, StepPhase::CHANGES);
  apply_changes(step);
  make_rows(step);
  make_tiles();
  run_outputs(step);
  clock_.stop();
}

void Executor::apply_changes(const StepDesc &step) {
  for (int i = 0; i < step.num_admitted; i++)
    sampler_.admit(step.admitted[i]);
  // Copies out of a block come before the block is cleared for its next owner.
  for (const int32_t *copy = step.copies; copy < step.copies + 3 * step.num_copies; copy += 3)
    if (copy[0] == BLOCK_TO_TIER)
      memcpy(tier_.data() + copy[2] * workspace_.block_bytes, block(copy[1]), workspace_.block_bytes);
  for (const int32_t *copy = step.copies; copy < step.copies + 3 * step.num_copies; copy += 3)
    if (copy[0] == BLOCK_TO_BLOCK)
      memcpy(block(copy[2]), block(copy[1]), workspace_.block_bytes);
  for (int i = 0; i < step.num_new_blocks; i++) {
    const int32_t *entry = step.new_blocks + 4 * i;
    block_table(entry[1], entry[0])[entry[2]] = entry[3];
    num_used_blocks_ = std::max(num_used_blocks_, entry[3] + 1);
  }
}

bool Executor::touch_ahead() {
  const size_t used = num_used_blocks_ * workspace_.block_bytes;
  const size_t wanted = std::min(blocks_.size(), used + std::max(used, LEAST_AHEAD));
  touched_bytes_ = std::max(touched_bytes_, used);
  if (touched_bytes_ >= wanted)
    return false;
  const size_t end = std::min(touched_bytes_ + TOUCHED_AT_ONCE, wanted);
  blocks_.touch(touched_bytes_, end);
  touched_bytes_ = end;
  return true;
}

void Executor::make_rows(const StepDesc &step) {
  for (int r = 0; r < step.num_requests; r++)
    for (int row = step.query_start[r]; row < step.query_start[r + 1]; row++) {
      row_request_[row] = r;
      positions_[row] = step.num_computed[r] + row - step.query_start[r];
      const int32_t token = step.token_ids[row];
      token_ids_[row] = token >= 0 ? token : sampler_.last_token(step.slot[r]);
    }
}

// Item of the first phase: a fresh block is zeroed, a block copied back from the tier is filled.
void Executor::clear_and_restore(int item) {
  if (item < step_.num_copies) {
    const int32_t *copy = step_.copies + 3 * item;
    if (copy[0] == TIER_TO_BLOCK)
      memcpy(block(copy[2]), tier_.data() + copy[1] * workspace_.block_bytes, workspace_.block_bytes);
    return;
  }
  const int32_t *entry = step_.new_blocks + 4 * (item - step_.num_copies);
  for (int r = 0; r < step_.num_requests; r++)
    if (step_.slot[r] == entry[0] && entry[2] * BLOCK_SIZE >= step_.num_computed[r])
      memset(block(entry[3]), 0, workspace_.block_bytes);
}

void Executor::forward_job(void *context, int thread) {
  Executor &self = *(Executor *)context;
  FloatMode mode;
  self.kernels_.thread_begin();
  self.run_phases_of_job(thread);
  self.kernels_.thread_end();
}

// From the phase on that the others are at: of a worker that comes late, or again, they may have done some.
void Executor::run_phases_of_job(int thread) {
  const Range range = phase_range_;
  int i = front_.load(std::memory_order_acquire);
  if (i < range.begin) {
    const auto number = [this] { return step_.num_copies + step_.num_new_blocks; };
    if (!run_beside_phases(number, [this](int item) { clear_and_restore(item); }, thread))
      return;
    i = range.begin;
  }
  for (; i < range.end; i++) {
    if (thread == 0)
      clock_.enter(step_phase(phases_[i]));
    if (!team_.finish(items_[i + 1], run_items(phases_[i], items_[i + 1], thread), thread))
      return;
    if (thread == 0)
      front_.store(i + 1, std::memory_order_release);
  }
}

// Returns how many of them this thread has run.
int Executor::run_items(const Phase &phase, Items &items, int thread) {
  const int count = items.count([&] { return num_items(phase); });
  if (step_phase(phase) == StepPhase::ATTENTION)
    return items.run_in_order_ahead(count, team_.size(), [&](int item, int next) {
      run_attention(desc_.ops[phase.begin], item, next, thread);
    });
  return items.run_in_ranges(count, thread, team_.size(), [&](int item) { run_item(phase, item, thread); });
}

// phases: those that the job runs.
void Executor::run_job(void (*job)(void *, int), Range phases, bool keep_warm) {
  front_.store(phases.begin == 0 ? -1 : phases.begin, std::memory_order_relaxed);
  items_[0].reset(team_.size());
  for (int i = phases.begin; i < phases.end; i++)
    items_[i + 1].reset(team_.size());
  team_.run(job, this, keep_warm);
}

int Executor::rows_of(int32_t buffer) const {
  const BufferDesc &desc = desc_.buffers[buffer];
  if (desc.is_per_output)
    return head_range_.end - head_range_.begin;
  return step_.num_tokens * (int)std::max<int64_t>(desc.experts_per_token, 1);
}

StepPhase Executor::step_phase(const Phase &phase) const {
  const OpKind kind = desc_.ops[phase.begin].kind;
  if (kind == OpKind::LINEAR || kind == OpKind::EXPERT_LINEAR)
    return StepPhase::LINEAR;
  return kind == OpKind::ATTENTION ? StepPhase::ATTENTION : StepPhase::ROWS;
}

int Executor::num_items(const Phase &phase) const {
  if (phase.begin == phase.end)
    return 1;
  const OpDesc &op = desc_.ops[phase.begin];
  if (phase.is_gated)
    return gated_items(phase);
  if (op.kind == OpKind::EXPERT_LINEAR)
    return expert_items(op) * num_busy_experts_.load(std::memory_order_relaxed);
  if (op.kind == OpKind::ATTENTION)
    return (int)tiles_.size() * op.as<AttentionAttrs>().num_kv_heads;
  if (op.kind != OpKind::LINEAR)
    return (rows_of(op.output >= 0 ? op.output : op.input) + ROWS_PER_ITEM - 1) / ROWS_PER_ITEM;
  if (rows_of(op.output) == 0)
    return 0;
  int items = 0;
  for (int s = 0; s < desc_.weights[op.weight].num_segments; s++)
    items += kernels_.linear_num_items(linear_args(op, s, 0));
  return items;
}

void Executor::run_item(const Phase &phase, int item, int thread) {
  const OpDesc &op = desc_.ops[phase.begin];
  if (phase.begin == phase.end)
    return order_by_expert(op);
  if (phase.is_gated)
    return run_gated(phase, item, thread);
  if (op.kind == OpKind::EXPERT_LINEAR)
    return run_expert_linear(op, item, thread);
  if (op.kind == OpKind::LINEAR)
    return run_linear(op, item, thread);
  const int rows = rows_of(op.output >= 0 ? op.output : op.input);
  const int begin = item * ROWS_PER_ITEM, end = std::min(begin + ROWS_PER_ITEM, rows);
  const OpDesc &last = desc_.ops[phase.end - 1];
  if (last.kind == OpKind::KV_WRITE)
    for (int row = begin; row < end; row++)
      fetch_kv(last, row);
  for (int i = phase.begin; i < phase.end; i++)
    run_rows(desc_.ops[i], begin, end);
}

LinearArgs Executor::segment_args(const OpDesc &op, int32_t weight, int segment, int64_t column,
                                  Range rows) const {
  LinearArgs args = {};
  args.weight = desc_.weights[weight].segments[segment];
  args.x = bf16_row(op.input, rows.begin);
  args.x_stride = stride(op.input);
  args.y = f32_row(op.output, rows.begin) + column;
  args.y_stride = stride(op.output);
  args.num_rows = rows.end - rows.begin;
  args.scale = 1;
  if (op.digits >= 0) {
    args.digits = digits_row(op.digits, rows.begin);
    args.digits_stride = stride(op.digits);
  }
  return args;
}

LinearArgs Executor::linear_args(const OpDesc &op, int segment, int64_t column) const {
  LinearArgs args = segment_args(op, op.weight, segment, column, {0, rows_of(op.output)});
  args.has_residual = (int32_t)op.as<LinearAttrs>().has_residual;
  args.scale = (float)op.as<LinearAttrs>().scale;
  if (op.bias >= 0)
    args.bias = desc_.weights[op.bias].vector + column;
  return args;
}

void Executor::run_linear(const OpDesc &op, int item, int thread) {
  int64_t column = 0;
  for (int s = 0; s < desc_.weights[op.weight].num_segments; s++) {
    const LinearArgs args = linear_args(op, s, column);
    const int items = kernels_.linear_num_items(args);
    if (item < items) {
      run_linear_item(args, item, thread);
      if (op.output == desc_.logits_buffer && is_sampled_range_)
        take_column_best(args, item);
      return;
    }
    item -= items;
    column += args.weight.num_columns;
  }
}

void Executor::run_linear_item(const LinearArgs &args, int item, int thread) {
  if (args.is_int8())
    kernels_.linear_int8_item(args, item);
  else
    kernels_.linear_item(args, item, scratch(thread));
}

const void *Executor::buffer(int32_t index, int64_t *stride) const {
  *stride = workspace_.buffers[index].stride;
  return buffers_.data() + workspace_.buffers[index].offset;
}

float *Executor::f32_row(int32_t buffer, int64_t row) const {
  return (float *)(buffers_.data() + workspace_.buffers[buffer].offset) + row * stride(buffer);
}

bf16 *Executor::bf16_row(int32_t buffer, int64_t row) const {
  return (bf16 *)(buffers_.data() + workspace_.buffers[buffer].offset) + row * stride(buffer);
}

DigitGroup *Executor::digits_row(int32_t buffer, int64_t row) const {
  return (DigitGroup *)(buffers_.data() + workspace_.buffers[buffer].offset) + row * stride(buffer);
}

int32_t *Executor::block_table(int32_t group, int32_t slot) {
  return block_tables_.data() + ((int64_t)group * desc_.max_seqs + slot) * workspace_.blocks_per_slot;
}

uint8_t *Executor::block(int64_t index) const { return blocks_.data() + index * workspace_.block_bytes; }

} // namespace octavo
