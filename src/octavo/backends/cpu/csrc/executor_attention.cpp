// Attention's part of a step: the tiles that threads take, and one of them.
#include "executor.h"

#include <algorithm>

namespace octavo {

namespace {

constexpr int MIN_QUERIES_PER_TILE = 16; // rows times heads that one attention item computes
constexpr int MAX_QUERIES_PER_TILE = 128;
constexpr int TILES_PER_THREAD = 8;

} // namespace

// Long contexts first, so that no thread is left with one at the end.
void Executor::make_tiles() {
  tiles_.clear();
  const auto attention = std::find_if(desc_.ops, desc_.ops + desc_.num_ops,
                                      [](const OpDesc &op) { return op.kind == OpKind::ATTENTION; });
  if (attention == desc_.ops + desc_.num_ops)
    return;
  const AttentionAttrs &attrs = attention->as<AttentionAttrs>();
  // Few large tiles read a context less often; several for each thread keep all busy.
  const int64_t group = attrs.num_heads / attrs.num_kv_heads;
  const int64_t per_thread =
      step_.num_tokens * group * attrs.num_kv_heads / (TILES_PER_THREAD * desc_.num_threads);
  const int64_t queries = std::clamp<int64_t>(per_thread, MIN_QUERIES_PER_TILE, MAX_QUERIES_PER_TILE);
  const int rows_per_tile = (int)std::max<int64_t>(1, queries / group);
  for (int r = 0; r < step_.num_requests; r++) {
    const int rows = step_.query_start[r + 1] - step_.query_start[r];
    for (int row = 0; row < rows; row += rows_per_tile)
      tiles_.push_back({r, row, std::min(row + rows_per_tile, rows)});
  }
  std::sort(tiles_.begin(), tiles_.end(), [this](const AttentionTile &a, const AttentionTile &b) {
    return step_.num_computed[a.request] + a.row_end > step_.num_computed[b.request] + b.row_end;
  });
}

AttentionArgs Executor::attention_args(const OpDesc &op, int item) {
  const AttentionAttrs &attrs = op.as<AttentionAttrs>();
  const AttentionTile &tile = tiles_[item / attrs.num_kv_heads];
  const int32_t group = (int32_t)attrs.group, first_row = step_.query_start[tile.request];
  return {&attrs,
          bf16_row(op.input, first_row),
          stride(op.input),
          bf16_row(op.output, first_row),
          stride(op.output),
          step_.num_computed[tile.request],
          blocks_.data(),
          workspace_.block_bytes,
          (int32_t)desc_.kv_groups[group].num_layers,
          desc_.kv_groups[group].format,
          block_table(group, step_.slot[tile.request]),
          item % (int32_t)attrs.num_kv_heads,
          tile.row_begin,
          tile.row_end};
}

// next: the item that the thread runs after this one, or -1.
void Executor::run_attention(const OpDesc &op, int item, int next, int thread) {
  const AttentionArgs args = attention_args(op, item);
  if (next < 0)
    return kernels_.attention_rows(args, nullptr, scratch(thread));
  const AttentionArgs next_args = attention_args(op, next);
  kernels_.attention_rows(args, &next_args, scratch(thread));
}

} // namespace octavo
