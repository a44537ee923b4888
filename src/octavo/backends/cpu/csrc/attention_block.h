// What attention on vectors and on tiles share: where a context lies, the softmax of a piece, and how pieces
// merge.
#pragma once
#include "vec16.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int PIECE = 256; // tokens, counted from position 0

// One row's one head on its way over the pieces.
struct Query {
  const bf16 *q;       // [head_dim]
  int64_t first, last; // the positions it sees
  bf16 *out;           // [head_dim]
  float *running;      // [head_dim] weighted values so far
  float best, total;   // maximum and sum so far

  bool sees(int64_t piece_start) const { return first < piece_start + PIECE && piece_start <= last; }
};

// Where one KV head of one layer lies in a block, and the sequence's blocks.
struct Context {
  const uint8_t *blocks;
  int64_t block_stride, slab_offset;
  int64_t values_offset; // bytes from keys to values
  const int32_t *table;
  int head_dim;
  int num_ahead;        // slabs (the keys, or the values, of a block) between fetching one and reading it
  int64_t end_block;    // the first that no query sees
  float scale, softcap; // softcap 0 is none

  const uint8_t *keys(int64_t block) const { return blocks + table[block] * block_stride + slab_offset; }
  const uint8_t *values(int64_t block) const { return keys(block) + values_offset; }
  // Of int8, between a block's keys and values: [16 tokens] each.
  const float *key_units(const uint8_t *keys) const { return (const float *)(keys + BLOCK_SIZE * head_dim); }
  const float *value_units(const uint8_t *keys) const { return key_units(keys) + BLOCK_SIZE; }
};

// The part of a piece that some query of a batch sees: whole blocks. Blocks before it may be gone.
struct Piece {
  int64_t start; // position of the piece's first token
  int64_t first_block;
  int num_blocks;

  int num_tokens() const { return num_blocks * BLOCK_SIZE; }
  int64_t first_position() const { return first_block * BLOCK_SIZE; }
  int64_t block_after(int b) const { return first_block + (b + 1 < num_blocks ? b + 1 : b); }
};

// The slab to fetch while the keys, or the values, of a piece's block b are read: the slabs of a piece are
// its keys, then its values.
OCTAVO_INLINE const uint8_t *ahead_of_keys(const Context &context, const Piece &piece, int b) {
  const int ahead = b + context.num_ahead;
  if (ahead < piece.num_blocks)
    return context.keys(piece.first_block + ahead);
  const int behind = ahead - piece.num_blocks;
  return context.values(piece.first_block + (behind < piece.num_blocks ? behind : piece.num_blocks - 1));
}
OCTAVO_INLINE const uint8_t *ahead_of_values(const Context &context, const Piece &piece, int b) {
  const int64_t ahead = piece.first_block + b + context.num_ahead;
  if (b + context.num_ahead < piece.num_blocks)
    return context.values(ahead);
  return ahead < context.end_block ? context.keys(ahead) : context.values(piece.first_block + b);
}

// first and last: the positions that some query of a batch sees.
OCTAVO_INLINE Piece piece_at(int64_t start, int64_t first, int64_t last) {
  const int64_t begin = (first > start ? first : start) / BLOCK_SIZE;
  const int64_t end = (last < start + PIECE ? last : start + PIECE - 1) / BLOCK_SIZE + 1;
  return {start, begin, (int)(end - begin)};
}

// From a query's scores, without their scale, to its weights e^(s - m), masked ones 0: all but tokens
// [begin, end). take(t, weights) stores sixteen and returns what counts of them; that is summed. best takes
// m.
template <bool ALL_VISIBLE, class Take>
OCTAVO_INLINE float weigh_tokens(const float *dots, float scale, int num_tokens, int32_t begin, int32_t end,
                                 Take &&take, float *best) {
  f32x16 largest = splat(-__builtin_inff());
  for (int t = 0; t < num_tokens; t += LANES) {
    f32x16 s = load<f32x16>(dots + t) * scale;
    i32x16 visible = (lane_index() < splat(end - t)) & (lane_index() >= splat(begin - t));
    if (!ALL_VISIBLE)
      s = visible ? s : largest;
    largest = maximum(largest, s);
  }
  const float m = tree_max(largest);
  f32x16 sum = {};
  for (int t = 0; t < num_tokens; t += LANES) {
    i32x16 visible = (lane_index() < splat(end - t)) & (lane_index() >= splat(begin - t));
    f32x16 weights = exp_up_to_88(load<f32x16>(dots + t) * scale - m);
    if (!ALL_VISIBLE)
      weights = visible ? weights : f32x16{};
    sum = sum + take(t, weights);
  }
  *best = m;
  return tree_sum(sum);
}

template <class Take>
OCTAVO_INLINE float weigh(float *dots, float scale, const Context &context, const Piece &piece,
                          const Query &query, Take &&take, float *best) {
  const int num_tokens = piece.num_tokens();
  if (context.softcap != 0.0f) {
    for (int t = 0; t < num_tokens; t += LANES)
      store(dots + t, softcap(load<f32x16>(dots + t) * scale, context.softcap));
    scale = 1.0f;
  }
  const int32_t begin = (int32_t)(query.first - piece.first_position());
  const int32_t end = (int32_t)(query.last + 1 - piece.first_position());
  if (begin <= 0 && end >= num_tokens)
    return weigh_tokens<true>(dots, scale, num_tokens, begin, end, take, best);
  return weigh_tokens<false>(dots, scale, num_tokens, begin, end, take, best);
}

// Adds a piece's (m, sum, o) to the query, if it sees the piece. o + 0 turns -0 into +0, however many of the
// blocks were all masked.
OCTAVO_INLINE void merge(Query &query, const Piece &piece, float m, float sum, const float *o, int head_dim) {
  if (!query.sees(piece.start))
    return;
  if (piece.start <= query.first) { // its first
    query.best = m;
    query.total = sum;
    for (int d = 0; d < head_dim; d += LANES)
      store(query.running + d, load<f32x16>(o + d) + 0.0f);
    return;
  }
  const float best = query.best > m ? query.best : m;
  const f32x16 factors = exp(f32x16{query.best - best, m - best});
  const float keep = factors[0], add = factors[1];
  query.best = best;
  query.total = query.total * keep + sum * add;
  for (int d = 0; d < head_dim; d += LANES)
    store(query.running + d, load<f32x16>(query.running + d) * keep + (load<f32x16>(o + d) + 0.0f) * add);
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
