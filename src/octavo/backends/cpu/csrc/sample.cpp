// The next token of one row of raw logits: see docs/exactness.md, "sampling". Survivors of top-k, top-p and
// min-p are found by a threshold from integer histograms, never by a sort; integer sums do not depend on
// their order.
#include "entries.h"
#include "logits_row.h"

namespace OCTAVO_KERNEL_NAMESPACE {

namespace {

constexpr float PROBABILITY_ONE = 1073741824.0f; // 2^30: the integer weight of the most probable token
constexpr int DIGIT_BITS[] = {11, 11, 10};       // of the 32-bit sort key, from the top
constexpr int MAX_BUCKETS = 1 << 11;

int32_t argmax(const float *x, int64_t size) {
  Best best;
  for (int64_t i = 0; i < size; i += LANES)
    best.take(load_or(x, i, size, -INFINITE), lane_index() + (int32_t)i);
  return best.lowest_id();
}

void penalize(const AdjustArgs &args, float *logits) {
  for (int32_t i = 0; i < args.num_counts; i++) {
    const TokenCount &seen = args.counts[i];
    float x = logits[seen.token];
    x = x > 0.0f ? x / args.repetition_penalty : x * args.repetition_penalty;
    if (seen.count > 0) {
      x -= args.frequency_penalty * (float)seen.count;
      x -= args.presence_penalty;
    }
    logits[seen.token] = x;
  }
}

void keep_allowed(const uint32_t *allowed, float *logits, int64_t size) {
  const u32x16 bit = splat(1u) << (u32x16)lane_index();
  for (int64_t i = 0; i < size; i += LANES) {
    const uint32_t word = allowed[i / 32] >> (i % 32); // 16 divides 32
    if ((word & 0xffffu) == 0xffffu)
      continue;
    f32x16 x = load_or(logits, i, size, 0.0f);
    x = (i32x16)((splat(word) & bit) != splat(0u)) ? x : splat(-INFINITE);
    memcpy(logits + i, &x, sizeof(float) * (size - i < LANES ? size - i : LANES));
  }
}

void adjust(const AdjustArgs &args, float *logits, int64_t size) {
  for (int32_t i = 0; i < args.num_biases; i++)
    logits[args.biases[i].token] += args.biases[i].bias;
  penalize(args, logits);
  for (const uint32_t *allowed : args.allowed)
    if (allowed)
      keep_allowed(allowed, logits, size);
  for (int32_t i = 0; i < args.num_banned; i++)
    logits[args.banned[i]] = -INFINITE;
}

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

// The largest key such that the tokens at or above it (and at or above `floor`) weigh at least `target`
// together. weight == nullptr counts tokens.
uint32_t key_reaching(const float *scaled, const uint32_t *weight, int64_t size, uint32_t floor,
                      double target, uint64_t *histogram) {
  uint32_t prefix = 0;
  uint64_t above = 0;
  int shift = 32;
  for (int bits : DIGIT_BITS) {
    const uint64_t above_mask = shift == 32 ? 0 : ~0ull << shift;
    shift -= bits;
    const uint32_t num_buckets = 1u << bits;
    memset(histogram, 0, sizeof(uint64_t) * num_buckets);
    for (int64_t i = 0; i < size; i++) {
      uint32_t key = sort_key(scaled[i]);
      if (key >= floor && (key & above_mask) == prefix)
        histogram[(key >> shift) & (num_buckets - 1)] += weight ? weight[i] : 1;
    }
    uint32_t bucket = num_buckets - 1;
    while (bucket > 0 && (double)(above + histogram[bucket]) < target)
      above += histogram[bucket--];
    prefix |= bucket << shift;
  }
  return prefix;
}

// The smallest scaled logit that survives top-k, then top-p among those, and min-p.
float threshold(const SampleArgs &args, const float *scaled, uint32_t *weight, uint64_t *histogram) {
  const int64_t size = args.vocab_size;
  uint32_t floor = sort_key(-INFINITE);
  if (args.top_k > 0 && args.top_k < size)
    floor = key_reaching(scaled, nullptr, size, floor, args.top_k, histogram);
  if (args.top_p >= 1.0 && args.min_p <= 0.0f)
    return from_sort_key(floor);
  float best = scaled[argmax(scaled, size)];
  uint64_t total = 0;
  float likely = best;
  for (int64_t i = 0; i < size; i += LANES) {
    f32x16 s = load_or(scaled, i, size, -INFINITE);
    f32x16 probability = exp(s - best);
    i32x16 integer = __builtin_convertvector(probability * PROBABILITY_ONE, i32x16);
    for (int lane = 0; lane < LANES && i + lane < size; lane++) {
      weight[i + lane] = integer[lane];
      if (sort_key(s[lane]) >= floor)
        total += integer[lane];
      if (probability[lane] >= args.min_p && s[lane] < likely)
        likely = s[lane];
    }
  }
  if (args.top_p < 1.0)
    floor = key_reaching(scaled, weight, size, floor, args.top_p * (double)total, histogram);
  float result = from_sort_key(floor);
  return args.min_p > 0.0f && likely > result ? likely : result;
}

OCTAVO_INLINE uint64_t splitmix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// -log(E), E exponential, from 32 hashed bits per token id.
OCTAVO_INLINE f32x16 gumbel(uint64_t key, i32x16 token) {
  u32x16 h = ((u32x16)token * 0x9e3779b1u) ^ splat((uint32_t)key);
  h = (h ^ (h >> 16)) * splat((uint32_t)(key >> 32) | 1u);
  h = (h ^ (h >> 15)) * 0x846ca68bu;
  h = h ^ (h >> 16);
  f32x16 high = __builtin_convertvector((i32x16)(h >> 16), f32x16);
  f32x16 low = __builtin_convertvector((i32x16)(h & 0xffffu), f32x16);
  f32x16 uniform = (high * 65536.0f + low) * 0x1p-32f + 0x1p-33f;
  uniform = minimum(uniform, splat(1.0f - 0x1p-24f));
  f32x16 near_zero = uniform + (uniform * uniform) * 0.5f;
  f32x16 exponential = uniform < splat(0x1p-12f) ? near_zero : -log(1.0f - uniform);
  return -log(exponential);
}

} // namespace

size_t sample_scratch_bytes(int32_t vocab_size) {
  const size_t padded = ((size_t)vocab_size + 63) / 64 * 64;
  return padded * (sizeof(float) + sizeof(uint32_t)) + sizeof(uint64_t) * MAX_BUCKETS;
}

// The sampled token id, or NOT_FINITE or NO_TOKEN. logits are left as they are.
int32_t sample_row(const SampleArgs &args, uint8_t *scratch) {
  const int64_t size = args.vocab_size, padded = (size + 63) / 64 * 64;
  if (!is_finite(args.logits, size))
    return NOT_FINITE;
  float *scaled = (float *)scratch;
  const float *logits = args.logits;
  if (!args.adjust.is_identity()) {
    memcpy(scaled, logits, sizeof(float) * size);
    adjust(args.adjust, scaled, size);
    logits = scaled;
  }
  const int32_t most_probable = args.temperature == 0.0f || logits == scaled ? argmax(logits, size) : 0;
  if (args.temperature == 0.0f || most_probable == NO_TOKEN)
    return most_probable;
  for (int64_t i = 0; i < size; i += LANES) {
    f32x16 s = load_or(logits, i, size, 0.0f) / args.temperature + 0.0f;
    memcpy(scaled + i, &s, sizeof(float) * (size - i < LANES ? size - i : LANES));
  }
  uint32_t *weight = (uint32_t *)(scaled + padded);
  float floor = threshold(args, scaled, weight, (uint64_t *)(weight + padded));
  const uint64_t key =
      splitmix64(splitmix64(splitmix64(args.seed) ^ (uint64_t)args.branch) ^ (uint64_t)args.position);
  Best best;
  for (int64_t i = 0; i < size; i += LANES) {
    f32x16 s = load_or(scaled, i, size, -INFINITE);
    i32x16 token = lane_index() + (int32_t)i;
    f32x16 score = s + gumbel(key, token);
    best.take(s >= splat(floor) ? score : splat(-INFINITE), token);
  }
  return best.lowest_id();
}

} // namespace OCTAVO_KERNEL_NAMESPACE
