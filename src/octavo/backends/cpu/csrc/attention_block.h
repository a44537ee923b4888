// What attention on vectors and on tiles share: where a context lies, the softmax of a piece, and how pieces
// merge.
#pragma once
#include "vec16.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int PIECE = 256; // tokens, counted from position 0

// One row's one head on its way over the pieces.
struct Query {
  const bf16 *q;     // [head_dim]
  int64_t last;      // the last position it sees
  bf16 *out;         // [head_dim]
  float *running;    // [head_dim] weighted values so far
  float best, total; // maximum and sum so far
};

// Where one KV head of one layer lies in a block, and the sequence's blocks.
struct Context {
  const uint8_t *blocks;
  int64_t block_stride, slab_offset;
  const int32_t *table;
  int head_dim;
  float scale;

  const uint8_t *keys(int64_t block) const { return blocks + table[block] * block_stride + slab_offset; }
  const uint8_t *values(int64_t block) const { return keys(block) + 2 * BLOCK_SIZE * head_dim; }
};

// The part of a piece that some query of a batch sees.
struct Piece {
  int64_t start; // position of its first token
  int64_t first_block;
  int num_blocks;

  int num_tokens() const { return num_blocks * BLOCK_SIZE; }
  int64_t block_after(int b) const { return first_block + (b + 1 < num_blocks ? b + 1 : b); }
};

OCTAVO_INLINE Piece piece_at(int64_t start, int64_t last) {
  const int64_t first_block = start / BLOCK_SIZE, rest = last / BLOCK_SIZE - first_block + 1;
  return {start, first_block, (int)(rest < PIECE / BLOCK_SIZE ? rest : PIECE / BLOCK_SIZE)};
}

OCTAVO_INLINE void store_weights(float *to, u32x16 bits) { store(to, as_float(bits << 16)); }
OCTAVO_INLINE void store_weights(bf16 *to, u32x16 bits) { store(to, __builtin_convertvector(bits, u16x16)); }

// From a query's dot products of a piece to weights bf16(e^(s - m)), masked ones 0. Returns their sum; best
// takes m.
template <bool ALL_VISIBLE, class Weight>
OCTAVO_INLINE float weigh_tokens(const float *dots, float scale, int num_tokens, int32_t num_visible,
                                 Weight *weights, float *best) {
  f32x16 largest = splat(-__builtin_inff());
  for (int t = 0; t < num_tokens; t += LANES) {
    f32x16 s = load<f32x16>(dots + t) * scale;
    i32x16 visible = lane_index() < splat(num_visible - t);
    if (!ALL_VISIBLE)
      s = visible ? s : largest;
    largest = maximum(largest, s);
  }
  const float m = tree_max(largest);
  f32x16 sum = {};
  for (int t = 0; t < num_tokens; t += LANES) {
    i32x16 visible = lane_index() < splat(num_visible - t);
    u32x16 bits = round_number_to_bf16_bits(exp_up_to_88(load<f32x16>(dots + t) * scale - m));
    if (!ALL_VISIBLE)
      bits = visible ? bits : u32x16{};
    store_weights(weights + t, bits);
    sum = sum + as_float(bits << 16);
  }
  *best = m;
  return tree_sum(sum);
}

template <class Weight>
OCTAVO_INLINE float weigh(const float *dots, float scale, const Piece &piece, const Query &query,
                          Weight *weights, float *best) {
  const int num_tokens = piece.num_tokens();
  const int32_t num_visible = (int32_t)(query.last + 1 - piece.start);
  if (num_visible >= num_tokens)
    return weigh_tokens<true>(dots, scale, num_tokens, num_visible, weights, best);
  return weigh_tokens<false>(dots, scale, num_tokens, num_visible, weights, best);
}

// Adds a piece's (m, sum, o) to the query, if it sees the piece. o + 0 turns -0 into +0, however many of the
// blocks were all masked.
OCTAVO_INLINE void merge(Query &query, const Piece &piece, float m, float sum, const float *o, int head_dim) {
  if (query.last < piece.start)
    return;
  if (piece.start == 0) {
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
