#include "workspace.h"

#include <algorithm>
#include <numeric>

#include "memory.h"
#include "sampler.h"

namespace octavo {

namespace {

constexpr size_t ROW_ALIGN = 16; // matrix units read whole tiles of rows
constexpr size_t CACHE_LINE = 64, PAGE = 4096;

bool is_linear(OpKind kind) { return kind == OpKind::LINEAR || kind == OpKind::EXPERT_LINEAR; }

// Whether nothing is ever written to it: what would be stays in scratch.
bool is_in_scratch(const ExecutorDesc &desc, int buffer) {
  bool is_written = false;
  for (int i = 0; i < desc.num_ops; i++)
    if (desc.ops[i].output == buffer) {
      if (!is_gated(desc, i))
        return false;
      is_written = true;
    }
  return is_written;
}

struct Elements {
  size_t bytes, count; // of one, and in a row
};

Elements elements_of(const BufferDesc &buffer) {
  if (buffer.format == BufferFormat::DIGITS)
    return {sizeof(DigitGroup), (size_t)num_groups(buffer.width)};
  return {buffer.format == BufferFormat::BF16 ? sizeof(bf16) : sizeof(float), (size_t)buffer.width};
}

// Each buffer at its largest, rows padded to cache lines and tiles.
BufferPlace place_buffer(const BufferDesc &buffer, const ExecutorDesc &desc, size_t &total) {
  const Elements elements = elements_of(buffer);
  size_t rows = round_up(buffer.is_per_output ? desc.max_seqs : desc.max_tokens, ROW_ALIGN);
  if (buffer.experts_per_token) // an expert's last tile of rows may begin anywhere
    rows = rows * buffer.experts_per_token + ROW_ALIGN;
  // Rows an odd number of cache lines apart fall into as many cache sets as there are.
  const size_t unit = std::lcm(elements.bytes, CACHE_LINE), bytes = elements.bytes * elements.count;
  const size_t row_bytes = (round_up(bytes, unit) / unit | 1) * unit;
  const BufferPlace place = {total, (int64_t)(row_bytes / elements.bytes)};
  total += round_up(rows * row_bytes, PAGE) + 2 * CACHE_LINE;
  return place;
}

// What any op needs at most, and sampling.
size_t largest_scratch(const ExecutorDesc &desc, const KernelTable &kernels) {
  size_t largest = kernels.sample_scratch_bytes(desc.vocab_size);
  for (const OpDesc *op = desc.ops; op < desc.ops + desc.num_ops; op++) {
    if (op->kind == OpKind::ATTENTION) {
      const AttentionAttrs &attrs = op->as<AttentionAttrs>();
      const KVFormat format = desc.kv_groups[attrs.group].format;
      largest = std::max(largest, kernels.attention_scratch_bytes(attrs.head_dim, format));
    }
    if (!is_linear(op->kind))
      continue;
    const WeightDesc &weight = desc.weights[op->weight];
    for (int s = 0; s < weight.num_segments; s++)
      largest = std::max(largest, kernels.linear_scratch_bytes(weight.segments[s].depth));
  }
  return largest;
}

size_t gated_bytes(const ExecutorDesc &desc) {
  for (int i = 0; i < desc.num_ops; i++)
    if (is_gated(desc, i))
      return round_up(desc.max_tokens, ROW_ALIGN) * GATED_STRIDE * sizeof(float);
  return 0;
}

// Whether the head is one layer, the last op, so that its items can keep the largest logits.
int32_t count_head_items(const ExecutorDesc &desc, const KernelTable &kernels) {
  const OpDesc &last = desc.ops[desc.num_ops - 1];
  if (last.kind != OpKind::LINEAR || last.output != desc.logits_buffer ||
      desc.weights[last.weight].num_segments != 1)
    return 0;
  LinearArgs args{};
  args.weight = desc.weights[last.weight].segments[0];
  return kernels.linear_num_items(args);
}

size_t expert_list_bytes(const ExecutorDesc &desc) {
  int64_t pairs = 0, experts = 0;
  for (const OpDesc *op = desc.ops; op < desc.ops + desc.num_ops; op++)
    if (op->kind == OpKind::DISPATCH) {
      pairs = std::max(pairs, desc.max_tokens * op->as<DispatchAttrs>().top_k);
      experts = std::max(experts, op->as<DispatchAttrs>().num_experts);
    }
  return (2 * pairs + 2 * experts + 2) * sizeof(int32_t);
}

} // namespace

bool is_gated(const ExecutorDesc &desc, int i) {
  if (i + 1 >= desc.num_ops || desc.ops[i].kind != OpKind::LINEAR || desc.ops[i + 1].kind != OpKind::ACT_MUL)
    return false;
  const OpDesc &linear = desc.ops[i], &activation = desc.ops[i + 1];
  const WeightDesc &weight = desc.weights[linear.weight];
  const int64_t width = activation.as<ActMulAttrs>().width;
  const bool has_whole_panels = weight.num_segments == 1 && width % PANEL == 0;
  const bool has_halves = weight.num_segments == 2 && weight.segments[0].num_columns == width;
  return activation.input == linear.output && !linear.as<LinearAttrs>().has_residual &&
         (has_whole_panels || has_halves);
}

Workspace::Workspace(const ExecutorDesc &desc, const KernelTable &kernels)
    : buffer_bytes(0), rope_bytes(0), block_bytes(0) {
  for (int b = 0; b < desc.num_buffers; b++)
    buffers.push_back(is_in_scratch(desc, b) ? BufferPlace{}
                                             : place_buffer(desc.buffers[b], desc, buffer_bytes));
  gated_offset = round_up(largest_scratch(desc, kernels), CACHE_LINE);
  scratch_bytes = round_up(gated_offset + gated_bytes(desc), PAGE) + CACHE_LINE;
  for (int t = 0; t < desc.num_rope_tables; t++)
    rope_bytes += round_up(2 * sizeof(float) * desc.max_model_len * desc.rope_tables[t].num_pairs, PAGE);
  blocks_per_slot = (desc.max_model_len + BLOCK_SIZE - 1) / BLOCK_SIZE;
  for (int g = 0; g < desc.num_kv_groups; g++)
    block_bytes = std::max(block_bytes, desc.kv_groups[g].block_bytes);
  num_head_items = count_head_items(desc, kernels);
  const size_t per_token = 3 * sizeof(int32_t) + sizeof(AttentionTile);
  const size_t per_slot = sizeof(int32_t) * desc.num_kv_groups * blocks_per_slot + sizeof(SampledOutput) +
                          sizeof(int32_t) + sizeof(ColumnBest) * num_head_items;
  list_bytes = per_token * desc.max_tokens + per_slot * desc.max_seqs + expert_list_bytes(desc);
}

WorkspaceBytes Workspace::bytes(const ExecutorDesc &desc) const {
  return {(int64_t)buffer_bytes, (int64_t)scratch_bytes * desc.num_threads, (int64_t)rope_bytes,
          (int64_t)list_bytes, (int64_t)Sampler::memory_bytes(desc)};
}

} // namespace octavo
