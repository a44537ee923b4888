// Attention on vectors: several queries in registers at once, so that a block is read and expanded once for
// all.
#pragma once
#include "attention_block.h"
#include "parts.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int VECTOR_BATCH = PARTS == 1 ? 8 : 4; // queries: two chains of each in registers
constexpr int INTO_L2 = 2; // of __builtin_prefetch: L1 has too few lines on their way for a slab

constexpr size_t vector_scratch_bytes(size_t head_dim) {
  return sizeof(float) * VECTOR_BATCH * (PIECE + 2 * head_dim);
}

// Halves of the words of a slab: the even and the odd dim of a key, or token of values.
struct Pairs {
  FloatPart even, odd;
};

OCTAVO_INLINE Pairs load_pairs(const uint8_t *p) {
  BitsPart words;
  memcpy(&words, p, sizeof words);
  return {(FloatPart)(words << 16), (FloatPart)(words & 0xffff0000u)};
}

OCTAVO_INLINE FloatPart splat_part(float x) { return x - FloatPart{}; }

// dots[n][token] of one block: per 32 dims an even and an odd chain. Meanwhile a slab ahead is fetched:
// blocks lie too far apart for the hardware to see them coming.
template <int N>
OCTAVO_INLINE void score_block(const uint8_t *keys, const uint8_t *ahead, int head_dim, const float *q,
                               float *dots) {
  const int num_pairs = head_dim / 2;
  for (int part = 0; part < PARTS; part++) {
    FloatPart total[N] = {};
    for (int first = 0; first < num_pairs; first += CHUNK / 2) {
      FloatPart even[N] = {}, odd[N] = {};
      const int end = first + CHUNK / 2 < num_pairs ? first + CHUNK / 2 : num_pairs;
#pragma GCC unroll 4
      for (int pair = first; pair < end; pair++) {
        const Pairs k = load_pairs(keys + 64 * pair + 4 * PART_LANES * part);
        if (part == 0)
          __builtin_prefetch(ahead + 64 * pair, 0, INTO_L2);
        for (int n = 0; n < N; n++) {
          even[n] = fma_part(k.even, splat_part(q[n * head_dim + 2 * pair]), even[n]);
          odd[n] = fma_part(k.odd, splat_part(q[n * head_dim + 2 * pair + 1]), odd[n]);
        }
      }
      for (int n = 0; n < N; n++)
        total[n] = total[n] + (even[n] + odd[n]);
    }
    for (int n = 0; n < N; n++)
      store(dots + n * PIECE + PART_LANES * part, total[n]);
  }
}

// Adds one block's values to o[n][head_dim]: an even and an odd chain over its tokens.
template <int N>
OCTAVO_INLINE void weigh_block(const uint8_t *values, const uint8_t *ahead, int head_dim,
                               const float *weights, float *o) {
  for (int dim = 0; dim < head_dim; dim += PART_LANES) {
    FloatPart even[N] = {}, odd[N] = {};
#pragma GCC unroll 8
    for (int pair = 0; pair < BLOCK_SIZE / 2; pair++) {
      const Pairs v = load_pairs(values + 4 * (head_dim * pair + dim));
      if (dim % LANES == 0)
        __builtin_prefetch(ahead + 4 * (head_dim * pair + dim), 0, INTO_L2);
      for (int n = 0; n < N; n++) {
        const float *w = weights + n * PIECE + 2 * pair;
        even[n] = fma_part(splat_part(w[0]), v.even, even[n]);
        odd[n] = fma_part(splat_part(w[1]), v.odd, odd[n]);
      }
    }
    for (int n = 0; n < N; n++) {
      float *at = o + n * head_dim + dim;
      store(at, load_part(at) + (even[n] + odd[n]));
    }
  }
}

// Weights rounded to bf16, as fp32.
OCTAVO_INLINE FloatPart take_rounded(float *to, FloatPart weights) {
  const FloatPart rounded = (FloatPart)(round_number_to_bf16_bits((BitsPart)weights) << 16);
  store(to, rounded);
  return rounded;
}

// Adds one piece to N queries.
template <int N>
void attend_on_vectors(const Context &context, const Piece &piece, Query *queries, uint8_t *scratch) {
  const int head_dim = context.head_dim;
  float *weights = (float *)scratch; // [N][PIECE]: dot products first
  float *q = weights + N * PIECE;    // [N][head_dim]
  float *o = q + N * head_dim;       // [N][head_dim]
  for (int n = 0; n < N; n++)
    for (int d = 0; d < head_dim; d += LANES)
      store(q + n * head_dim + d, from_bf16(load<u16x16>(queries[n].q + d)));
  for (int b = 0; b < piece.num_blocks; b++)
    score_block<N>(context.keys(piece.first_block + b), ahead_of_keys(context, piece, b), head_dim, q,
                   weights + b * BLOCK_SIZE);
  Softmax softmax[N];
  for (int n = 0; n < N; n++) {
    float *row = weights + n * PIECE;
    const auto take = [row](int t, FloatPart weights) { return take_rounded(row + t, weights); };
    softmax[n] = weigh(row, context.scale, context, piece, queries[n], take);
  }
  memset(o, 0, sizeof(float) * N * head_dim);
  for (int b = 0; b < piece.num_blocks; b++)
    weigh_block<N>(context.values(piece.first_block + b), ahead_of_values(context, piece, b), head_dim,
                   weights + b * BLOCK_SIZE, o);
  merge<N>(queries, N, piece, softmax, o, head_dim);
}

// Adds one piece to `count` queries, at most N.
template <int N = VECTOR_BATCH>
void attend_batch(const Context &context, const Piece &piece, Query *queries, int count, uint8_t *scratch) {
  if constexpr (N > 1)
    if (count < N)
      return attend_batch<N - 1>(context, piece, queries, count, scratch);
  attend_on_vectors<N>(context, piece, queries, scratch);
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
