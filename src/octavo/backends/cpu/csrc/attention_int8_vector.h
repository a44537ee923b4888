// Attention over an int8 KV cache on vectors: keys and values stay bytes until they are multiplied, and
// their units meet the scores and the weights. Up to four queries at once.
#pragma once
#include "attention_block.h"
#include "attention_vector.h"
#include "quantize.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int INT8_VECTOR_BATCH = 4; // measured: eight are slower
constexpr int QUAD = 4;              // bytes in a word: dims of one key, or tokens of one dim's values

constexpr size_t int8_vector_scratch_bytes(size_t head_dim) {
  return INT8_VECTOR_BATCH *
             (PIECE * (sizeof(float) + sizeof(int16_t)) + head_dim * (sizeof(int16_t) + sizeof(int32_t))) +
         PIECE * sizeof(float);
}

typedef int16_t ShortPart __attribute__((vector_size(4 * PART_LANES)));
typedef int16_t HalfShortPart __attribute__((vector_size(2 * PART_LANES)));

// Of every word bytes 0 and 2, and bytes 1 and 3.
struct Quads {
  ShortPart even, odd;
};

OCTAVO_INLINE Quads load_quads(const uint8_t *p) {
  ShortPart pairs;
  memcpy(&pairs, p, sizeof pairs);
  return {(pairs << 8) >> 8, pairs >> 8};
}

// Digits in the order in which quads are multiplied: 0, 2, 1, 3.
OCTAVO_INLINE void store_digits(int16_t *to, IntPart digits) {
  const IntPart lane = (IntPart)part_lane_index();
  const IntPart order = (lane & ~3) | (lane & 1) << 1 | (lane >> 1 & 1);
  store(to, __builtin_convertvector(__builtin_shuffle(digits, order), HalfShortPart));
}

// sum + a[0] * b[0] + a[1] * b[1] of the pairs in every word; b: one pair for all.
OCTAVO_INLINE IntPart add_products(IntPart sum, ShortPart a, const int16_t *b) {
  int32_t pair;
  memcpy(&pair, b, sizeof pair);
#if defined(__AVX512VNNI__)
  return (IntPart)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, _mm512_set1_epi32(pair));
#elif defined(__AVX512BW__)
  return sum + (IntPart)_mm512_madd_epi16((__m512i)a, _mm512_set1_epi32(pair));
#elif defined(__AVX2__)
  return sum + (IntPart)_mm256_madd_epi16((__m256i)a, _mm256_set1_epi32(pair));
#elif defined(__SSE2__)
  return sum + (IntPart)_mm_madd_epi16((__m128i)a, _mm_set1_epi32(pair));
#else
  const IntPart words = (IntPart)a;
  return sum + ((words << 16) >> 16) * (int32_t)b[0] + (words >> 16) * (int32_t)b[1];
#endif
}

// The digits of a query; returns their unit.
OCTAVO_INLINE float quantize_query(const bf16 *query, int head_dim, int16_t *digits) {
  const Scaling scaling = scaling_of(largest_of(query, head_dim), QUERY_DIGITS);
  for (int d = 0; d < head_dim; d += PART_LANES)
    store_digits(digits + d, digits_of(load_part(query + d), scaling));
  return scaling.unit;
}

// dots[n][token] of one block, in units of the query. Meanwhile a slab ahead is fetched.
template <int N>
OCTAVO_INLINE void score_int8_block(const uint8_t *keys, const float *units, const uint8_t *ahead,
                                    int head_dim, const int16_t *q, float *dots) {
  for (int part = 0; part < PARTS; part++) {
    IntPart sum[N] = {};
#pragma GCC unroll 4
    for (int d = 0; d < head_dim; d += QUAD) {
      const Quads k = load_quads(keys + BLOCK_SIZE * d + QUAD * PART_LANES * part);
      if (part == 0)
        __builtin_prefetch(ahead + BLOCK_SIZE * d, 0, INTO_L2);
      for (int n = 0; n < N; n++) {
        sum[n] = add_products(sum[n], k.even, q + n * head_dim + d);
        sum[n] = add_products(sum[n], k.odd, q + n * head_dim + d + 2);
      }
    }
    const FloatPart unit = load_part(units + PART_LANES * part);
    for (int n = 0; n < N; n++)
      store(dots + n * PIECE + PART_LANES * part, __builtin_convertvector(sum[n], FloatPart) * unit);
  }
}

// Adds one block's values to o[n][head_dim].
template <int N>
OCTAVO_INLINE void weigh_int8_block(const uint8_t *values, const uint8_t *ahead, int head_dim,
                                    const int16_t *weights, int32_t *o) {
  for (int dim = 0; dim < head_dim; dim += PART_LANES) {
    IntPart sum[N];
    for (int n = 0; n < N; n++)
      sum[n] = load<IntPart>(o + n * head_dim + dim);
#pragma GCC unroll 4
    for (int token = 0; token < BLOCK_SIZE; token += QUAD) {
      const Quads v = load_quads(values + head_dim * token + QUAD * dim);
      if (dim % LANES == 0)
        __builtin_prefetch(ahead + head_dim * token + QUAD * dim, 0, INTO_L2);
      for (int n = 0; n < N; n++) {
        sum[n] = add_products(sum[n], v.even, weights + n * PIECE + token);
        sum[n] = add_products(sum[n], v.odd, weights + n * PIECE + token + 2);
      }
    }
    for (int n = 0; n < N; n++)
      store(o + n * head_dim + dim, sum[n]);
  }
}

// Softmax of a piece. weights: dot products first, then e^(s - m) times the values' units; in `scaling` what
// makes digits of the weights.
OCTAVO_INLINE Softmax weigh_int8(float *weights, float scale, const Context &context, const Piece &piece,
                                 const Query &query, const float *value_units, Scaling *scaling) {
  FloatPart largest = {};
  const auto take = [&](int t, FloatPart p) {
    const FloatPart weight = p * load_part(value_units + t);
    const FloatPart seen = p > FloatPart{} ? weight : FloatPart{};
    largest = larger(largest, seen);
    store(weights + t, seen);
    return p;
  };
  const Softmax softmax = weigh(weights, scale, context, piece, query, take);
  float most = 0.0f;
  for (int lane = 0; lane < PART_LANES; lane++)
    most = largest[lane] > most ? largest[lane] : most;
  *scaling = scaling_of(most, QUERY_DIGITS);
  return softmax;
}

// Adds one piece to N queries.
template <int N>
void attend_int8_on_vectors(const Context &context, const Piece &piece, Query *queries, uint8_t *scratch) {
  const int head_dim = context.head_dim;
  float *weights = (float *)scratch;               // [N][PIECE]
  float *value_units = weights + N * PIECE;        // [PIECE]
  int32_t *o = (int32_t *)(value_units + PIECE);   // [N][head_dim]
  int16_t *digits = (int16_t *)(o + N * head_dim); // [N][PIECE], of the weights
  int16_t *q = digits + N * PIECE;                 // [N][head_dim]
  float scale[N], unit[N];
  Softmax softmax[N];
  for (int n = 0; n < N; n++)
    scale[n] = quantize_query(queries[n].q, head_dim, q + n * head_dim) * context.scale;
  for (int b = 0; b < piece.num_blocks; b++) {
    const uint8_t *keys = context.keys(piece.first_block + b);
    const uint8_t *ahead = ahead_of_keys(context, piece, b);
    __builtin_prefetch(context.key_units(ahead), 0, INTO_L2);
    __builtin_prefetch(context.value_units(ahead), 0, INTO_L2);
    score_int8_block<N>(keys, context.key_units(keys), ahead, head_dim, q, weights + b * BLOCK_SIZE);
    store(value_units + b * BLOCK_SIZE, load<f32x16>(context.value_units(keys)));
  }
  for (int n = 0; n < N; n++) {
    float *row = weights + n * PIECE;
    Scaling scaling;
    softmax[n] = weigh_int8(row, scale[n], context, piece, queries[n], value_units, &scaling);
    unit[n] = scaling.unit;
    for (int t = 0; t < piece.num_tokens(); t += PART_LANES)
      store_digits(digits + n * PIECE + t, digits_of(load_part(row + t), scaling));
  }
  memset(o, 0, sizeof(int32_t) * N * head_dim);
  for (int b = 0; b < piece.num_blocks; b++)
    weigh_int8_block<N>(context.values(piece.first_block + b), ahead_of_values(context, piece, b), head_dim,
                        digits + b * BLOCK_SIZE, o);
  for (int n = 0; n < N; n++) {
    float *values = (float *)(o + n * head_dim); // in place
    for (int d = 0; d < head_dim; d += LANES)
      store(values + d, __builtin_convertvector(load<i32x16>(values + d), f32x16) * unit[n]);
  }
  merge<N>(queries, N, piece, softmax, (const float *)o, head_dim);
}

// Adds one piece to `count` queries, at most N.
template <int N = INT8_VECTOR_BATCH>
void attend_int8_batch(const Context &context, const Piece &piece, Query *queries, int count,
                       uint8_t *scratch) {
  if constexpr (N > 1)
    if (count < N)
      return attend_int8_batch<N - 1>(context, piece, queries, count, scratch);
  attend_int8_on_vectors<N>(context, piece, queries, scratch);
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
