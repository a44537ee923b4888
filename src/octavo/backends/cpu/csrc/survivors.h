// Which tokens survive top-k, top-p and min-p: a threshold from integer histograms over a list that holds all
// tokens above some logit, never a sort. Integer sums do not depend on their order.
#pragma once
#include "logits_row.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr float PROBABILITY_ONE = 1073741824.0f; // 2^30: the integer weight of the most probable token
constexpr float WEIGHTLESS = -20.9f;             // e^x is below 2^-30 here: its weight is 0
constexpr float LIKELY = -8.0f;                  // where a nucleus mostly ends
constexpr int DIGIT_BITS[] = {11, 11, 10};       // of the 32-bit sort key, from the top
constexpr int MAX_BUCKETS = 1 << 11;

// Unsigned keys that order as the floats do (no NaN, no -0).
OCTAVO_INLINE uint32_t sort_key(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
OCTAVO_INLINE float from_sort_key(uint32_t key) {
  uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

// Tokens by ascending id, with their scaled logits: every one of a row whose logit is at least some value.
struct TokenList {
  float *scaled;
  int32_t *ids;
  uint32_t *weights; // e^(scaled - best) in units of 2^-30
  uint64_t *histogram;
  int64_t count;
};

// The largest key such that the values at or above it weigh at least `target` together; there are such.
// weights
// == nullptr counts values.
static uint32_t key_reaching(const float *values, const uint32_t *weights, int64_t count, double target,
                             uint64_t *histogram) {
  uint32_t prefix = 0;
  uint64_t above = 0;
  int shift = 32;
  for (int bits : DIGIT_BITS) {
    const uint64_t above_mask = shift == 32 ? 0 : ~0ull << shift;
    shift -= bits;
    const uint32_t num_buckets = 1u << bits;
    memset(histogram, 0, sizeof(uint64_t) * num_buckets);
    for (int64_t i = 0; i < count; i++) {
      const uint32_t key = sort_key(values[i]);
      if ((key & above_mask) == prefix)
        histogram[(key >> shift) & (num_buckets - 1)] += weights ? weights[i] : 1;
    }
    uint32_t bucket = num_buckets - 1;
    while (bucket > 0 && (double)(above + histogram[bucket]) < target)
      above += histogram[bucket--];
    prefix |= bucket << shift;
  }
  return prefix;
}

OCTAVO_INLINE float kth_largest(const float *values, int64_t count, int64_t k, uint64_t *histogram) {
  return k < count ? from_sort_key(key_reaching(values, nullptr, count, (double)k, histogram)) : -INFINITE;
}

OCTAVO_INLINE i32x16 integer_weight(f32x16 scaled, float best) {
  return __builtin_convertvector(exp(scaled - best) * PROBABILITY_ONE, i32x16);
}

// Weights of up to 2^16 vectors, summed without overflow.
struct WeightSum {
  u32x16 high = {}, low = {};

  OCTAVO_INLINE_MEMBER void add(u32x16 weight) {
    high += weight >> 15;
    low += weight & 0x7fffu;
  }
  uint64_t total() const {
    uint64_t sum = 0;
    for (int lane = 0; lane < LANES; lane++)
      sum += ((uint64_t)high[lane] << 15) + low[lane];
    return sum;
  }
};

// Fills the list's weights, of which there may be LANES - 1 more than tokens; returns their sum.
static uint64_t weigh(const TokenList &list, float best) {
  constexpr int64_t MAX_AT_ONCE = LANES << 16;
  uint64_t total = 0;
  for (int64_t begin = 0; begin < list.count; begin += MAX_AT_ONCE) {
    WeightSum sum;
    const int64_t end = begin + MAX_AT_ONCE < list.count ? begin + MAX_AT_ONCE : list.count;
    for (int64_t i = begin; i < end; i += LANES) {
      const i32x16 weight = integer_weight(load_or(list.scaled, i, list.count, -INFINITE), best);
      sum.add((u32x16)weight);
      store(list.weights + i, weight);
    }
    total += sum.total();
  }
  return total;
}

// Drops what lies below a threshold.
static void keep_from(TokenList &list, float threshold) {
  int64_t count = 0;
  for (int64_t i = 0; i < list.count; i++) {
    list.scaled[count] = list.scaled[i];
    list.ids[count] = list.ids[i];
    count += list.scaled[i] >= threshold;
  }
  list.count = count;
}

// min-p. The list may lack unlikely tokens: then all that it has survive.
static float smallest_likely(const TokenList &list, float best, float min_p) {
  f32x16 least = splat(best);
  for (int64_t i = 0; i < list.count; i += LANES) {
    const f32x16 s = load_or(list.scaled, i, list.count, -INFINITE);
    const f32x16 candidate = exp(s - best) >= splat(min_p) ? s : least;
    least = minimum(candidate, least);
  }
  float smallest = best;
  for (int lane = 0; lane < LANES; lane++)
    smallest = least[lane] < smallest ? least[lane] : smallest;
  return smallest;
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
