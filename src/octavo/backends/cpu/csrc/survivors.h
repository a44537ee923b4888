// Thresholds of top-k, top-p and min-p from integer histograms, never a sort: sums of integers do not depend
// on their order.
#pragma once
#include "logits_row.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr float PROBABILITY_ONE = 1073741824.0f; // 2^30: the integer weight of the most probable token
constexpr float WEIGHTLESS = -20.9f;             // e^x is below 2^-30 here: its weight is 0
constexpr int WEIGHT_BUCKETS = 512;              // of scaled logits from the largest down to WEIGHTLESS
constexpr int BUCKET_PARTS = 4;                  // so that lanes in a row seldom wait for each other's sum
constexpr float BUCKETS_PER_UNIT = (WEIGHT_BUCKETS - 1) / -WEIGHTLESS;
constexpr int MAX_DIGIT_BITS = 11; // of the sort key, looked at in one pass
constexpr int MAX_BUCKETS = 1 << MAX_DIGIT_BITS;
static_assert(WEIGHT_BUCKETS * BUCKET_PARTS <= MAX_BUCKETS);

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

// Scaled logits of some tokens. Arrays have room for LANES more.
struct ScaledList {
  float *scaled;
  uint32_t *weights; // e^(scaled - best) in units of 2^-30
  int64_t count;
};

// The largest key such that the values at or above it, and what is known to be above all of them, weigh at
// least `needed` together; there are such. weights == nullptr counts values.
static uint32_t key_reaching(const float *values, const uint32_t *weights, int64_t count, uint64_t above,
                             uint64_t needed, uint64_t *histogram) {
  uint32_t least = UINT32_MAX, most = 0;
  for (int64_t i = 0; i < count; i++) {
    const uint32_t key = sort_key(values[i]);
    least = key < least ? key : least;
    most = key > most ? key : most;
  }
  int shift = least == most ? 0 : 32 - __builtin_clz(least ^ most); // bits above are those of all
  uint32_t prefix = (uint32_t)((uint64_t)most >> shift << shift);
  while (shift > 0) {
    const uint32_t above_mask = (uint32_t)(~0ull << shift);
    const int bits = shift < MAX_DIGIT_BITS ? shift : MAX_DIGIT_BITS;
    const uint32_t num_buckets = 1u << bits;
    shift -= bits;
    memset(histogram, 0, sizeof(uint64_t) * num_buckets);
    for (int64_t i = 0; i < count; i++) {
      const uint32_t key = sort_key(values[i]);
      if ((key & above_mask) == prefix)
        histogram[(key >> shift) & (num_buckets - 1)] += weights ? weights[i] : 1;
    }
    uint32_t bucket = num_buckets - 1;
    while (bucket > 0 && above + histogram[bucket] < needed)
      above += histogram[bucket--];
    prefix |= bucket << shift;
  }
  return prefix;
}

OCTAVO_INLINE float kth_largest(const float *values, int64_t count, int64_t k, uint64_t *histogram) {
  return k <= count ? from_sort_key(key_reaching(values, nullptr, count, 0, k, histogram)) : -INFINITE;
}

OCTAVO_INLINE IntPart integer_weight(FloatPart scaled, float best) {
  FloatPart weight[] = {larger(scaled - best, EXP_FLOOR - FloatPart{})};
  exp_in_range(weight);
  return __builtin_convertvector(weight[0] * PROBABILITY_ONE, IntPart);
}

// Weights of tokens in buckets of scaled logits, the largest first.
struct WeightHistogram {
  uint64_t *sums; // [WEIGHT_BUCKETS][BUCKET_PARTS]

  uint64_t weight(int bucket) const {
    uint64_t sum = 0;
    for (int part = 0; part < BUCKET_PARTS; part++)
      sum += sums[bucket * BUCKET_PARTS + part];
    return sum;
  }
};

// Never less for a smaller logit, so that a bucket's tokens are all above those of the next.
OCTAVO_INLINE IntPart weight_bucket(FloatPart scaled, float best) {
  const FloatPart place = (best - scaled) * BUCKETS_PER_UNIT, last = WEIGHT_BUCKETS - 1.0f - FloatPart{};
  return __builtin_convertvector(place < last ? place : last, IntPart);
}

// Fills the list's weights: 0 in another bucket, or below a threshold.
static void weigh_bucket(const ScaledList &list, float best, float threshold, int bucket) {
  for (int64_t i = 0; i < list.count; i += PART_LANES) {
    const FloatPart scaled = load_part(list.scaled + i);
    const IntPart is_in = (weight_bucket(scaled, best) == bucket) & (scaled >= (threshold - FloatPart{}));
    const IntPart weight = integer_weight(scaled, best) & is_in;
    memcpy(list.weights + i, &weight, sizeof weight);
  }
}

// min-p: the list holds all that may be likely enough.
static float smallest_likely(const ScaledList &list, float best, float min_p) {
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
