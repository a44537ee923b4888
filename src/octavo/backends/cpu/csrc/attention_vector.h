// Attention on vectors: several queries in registers at once, so that a block is read and expanded once for
// all.
#pragma once
#include "attention_block.h"
#include "parts.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

// Of queries and vectors of keys or values as many as have room for two chains of each pair: what is loaded
// of either serves several products, or loads would take longer than multiplying. A block stays in L1 while a
// few such sets of queries pass over it.
constexpr int SET_QUERIES = PARTS == 1 ? 6 : 4;
constexpr int SET_VECTORS = PARTS == 1 ? 2 : 1;
constexpr int VECTOR_BATCH = 4 * SET_QUERIES;
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

// The keys, or the values, of P blocks, and the slabs to fetch while they are read: blocks lie too far apart
// for the hardware to see them coming.
template <int P> struct Slabs {
  const uint8_t *data[P], *ahead[P];
};

// Of N queries and P vectors of pairs: an even and an odd chain of products each.
template <int N, int P> struct Chains {
  FloatPart even[N][P], odd[N][P];

  OCTAVO_INLINE_MEMBER Chains() {
#pragma GCC unroll 8
    for (int n = 0; n < N; n++)
#pragma GCC unroll 2
      for (int p = 0; p < P; p++)
        even[n][p] = odd[n][p] = FloatPart{};
  }
  // factors(n): the two of query n.
  template <class Factors> OCTAVO_INLINE_MEMBER void add(const Pairs (&pairs)[P], Factors &&factors) {
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) {
      const FloatPart first = splat_part(factors(n)[0]), second = splat_part(factors(n)[1]);
#pragma GCC unroll 2
      for (int p = 0; p < P; p++) {
        even[n][p] = fma_part(pairs[p].even, first, even[n][p]);
        odd[n][p] = fma_part(pairs[p].odd, second, odd[n][p]);
      }
    }
  }
  // take(n, p, sum)
  template <class Take> OCTAVO_INLINE_MEMBER void sum(Take &&take) const {
#pragma GCC unroll 8
    for (int n = 0; n < N; n++)
#pragma GCC unroll 2
      for (int p = 0; p < P; p++)
        take(n, p, even[n][p] + odd[n][p]);
  }
};

// dots[n][token] of P neighbouring blocks, of a set of queries: per 32 dims an even and an odd chain.
template <int P, int N = SET_QUERIES>
__attribute__((noinline)) void score_set(int count, const Slabs<P> &keys, int head_dim, const float *q,
                                         float *dots) {
  if constexpr (N > 1)
    if (count < N)
      return score_set<P, N - 1>(count, keys, head_dim, q, dots);
  const int num_pairs = head_dim / 2;
  for (int part = 0; part < PARTS; part++)
    for (int first = 0; first < num_pairs; first += CHUNK / 2) {
      Chains<N, P> chains;
      const int end = first + CHUNK / 2 < num_pairs ? first + CHUNK / 2 : num_pairs;
#pragma GCC unroll 4
      for (int pair = first; pair < end; pair++) {
        Pairs k[P];
        for (int p = 0; p < P; p++) {
          k[p] = load_pairs(keys.data[p] + 64 * pair + 4 * PART_LANES * part);
          if (part == 0)
            __builtin_prefetch(keys.ahead[p] + 64 * pair, 0, INTO_L2);
        }
        chains.add(k, [=](int n) { return q + n * head_dim + 2 * pair; });
      }
      chains.sum([=](int n, int p, FloatPart sum) {
        float *at = dots + n * PIECE + p * BLOCK_SIZE + PART_LANES * part;
        store(at, (first ? load_part(at) : FloatPart{}) + sum);
      });
    }
}

// Adds P vectors of one block's values to o[n][head_dim]: an even and an odd chain over its tokens.
template <int N, int P>
OCTAVO_INLINE void weigh_dims(const Slabs<1> &values, int dim, int head_dim, const float *weights, float *o) {
  Chains<N, P> chains;
#pragma GCC unroll 8
  for (int pair = 0; pair < BLOCK_SIZE / 2; pair++) {
    Pairs v[P];
    for (int p = 0; p < P; p++) {
      const int64_t at = 4 * (head_dim * pair + dim + p * PART_LANES);
      v[p] = load_pairs(values.data[0] + at);
      if ((dim + p * PART_LANES) % LANES == 0)
        __builtin_prefetch(values.ahead[0] + at, 0, INTO_L2);
    }
    chains.add(v, [=](int n) { return weights + n * PIECE + 2 * pair; });
  }
  chains.sum([=](int n, int p, FloatPart sum) {
    float *at = o + n * head_dim + dim + p * PART_LANES;
    store(at, load_part(at) + sum);
  });
}

// Adds one block's values to o[n][head_dim] of a set of queries.
template <int N = SET_QUERIES>
__attribute__((noinline)) void weigh_set(int count, const Slabs<1> &values, int head_dim,
                                         const float *weights, float *o) {
  if constexpr (N > 1)
    if (count < N)
      return weigh_set<N - 1>(count, values, head_dim, weights, o);
  constexpr int P = SET_VECTORS;
  int dim = 0;
  for (; dim + P * PART_LANES <= head_dim; dim += P * PART_LANES)
    weigh_dims<N, P>(values, dim, head_dim, weights, o);
  for (; dim < head_dim; dim += PART_LANES)
    weigh_dims<N, 1>(values, dim, head_dim, weights, o);
}

// The blocks of a piece from b on, P at a time while so many are left. Returns where it ends.
template <int P>
OCTAVO_INLINE int score_blocks(const Context &context, const Piece &piece, int b, int count, const float *q,
                               float *dots) {
  for (; b + P <= piece.num_blocks; b += P) {
    Slabs<P> keys;
    for (int p = 0; p < P; p++) {
      keys.data[p] = context.keys(piece.first_block + b + p);
      keys.ahead[p] = ahead_of_keys(context, piece, b + p);
    }
    for (int n = 0; n < count; n += SET_QUERIES)
      score_set<P>(count - n, keys, context.head_dim, q + n * context.head_dim,
                   dots + n * PIECE + b * BLOCK_SIZE);
  }
  return b;
}

OCTAVO_INLINE void weigh_blocks(const Context &context, const Piece &piece, int count, const float *weights,
                                float *o) {
  for (int b = 0; b < piece.num_blocks; b++) {
    const Slabs<1> values = {{context.values(piece.first_block + b)}, {ahead_of_values(context, piece, b)}};
    for (int n = 0; n < count; n += SET_QUERIES)
      weigh_set(count - n, values, context.head_dim, weights + n * PIECE + b * BLOCK_SIZE,
                o + n * context.head_dim);
  }
}

// Weights rounded to bf16, as fp32.
OCTAVO_INLINE FloatPart take_rounded(float *to, FloatPart weights) {
  const FloatPart rounded = (FloatPart)(round_number_to_bf16_bits((BitsPart)weights) << 16);
  store(to, rounded);
  return rounded;
}

// Adds one piece to `count` queries, at most VECTOR_BATCH.
void attend_batch(const Context &context, const Piece &piece, Query *queries, int count, uint8_t *scratch) {
  const int head_dim = context.head_dim;
  float *weights = (float *)scratch;         // [VECTOR_BATCH][PIECE]: dot products first
  float *q = weights + VECTOR_BATCH * PIECE; // [VECTOR_BATCH][head_dim]
  float *o = q + VECTOR_BATCH * head_dim;    // [VECTOR_BATCH][head_dim]
  for (int n = 0; n < count; n++)
    for (int d = 0; d < head_dim; d += LANES)
      store(q + n * head_dim + d, from_bf16(load<u16x16>(queries[n].q + d)));
  const int scored = score_blocks<SET_VECTORS>(context, piece, 0, count, q, weights);
  score_blocks<1>(context, piece, scored, count, q, weights);
  Softmax softmax[VECTOR_BATCH];
  for (int n = 0; n < count; n++) {
    float *row = weights + n * PIECE;
    const auto take = [row](int t, FloatPart weights) { return take_rounded(row + t, weights); };
    softmax[n] = weigh(row, context.scale, context, piece, queries[n], take);
  }
  memset(o, 0, sizeof(float) * count * head_dim);
  weigh_blocks(context, piece, count, weights, o);
  merge<VECTOR_BATCH>(queries, count, piece, softmax, o, head_dim);
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
