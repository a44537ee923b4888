// The next token of one row of raw logits: see docs/exactness.md, "sampling".
//
// A first pass finds the largest logit of every sixteenth column of each 256; with these maxima later passes
// leave out most of the row. What is left out cannot change the result: the tests compare with the reference,
// which leaves out nothing.
#include "entries.h"
#include "gumbel.h"
#include "logits_adjust.h"
#include "survivors.h"

namespace OCTAVO_KERNEL_NAMESPACE {

namespace {

constexpr int GROUP = 256;           // columns with LANES maxima
constexpr float SLACK = 0.01f;       // more than what bounds and approximate divisions are wrong by ...
constexpr float SLACK_RATIO = 1e-6f; // ... for scaled logits of a size
constexpr float MAX_NOISE = 25.0f;

// One row of logits, of which groups and vectors are read whole: the last group is a padded copy.
struct Row {
  const float *logits;
  int64_t size, num_groups;
  float *maxima; // [num_groups][LANES]
  float last_group[GROUP];

  Row(const float *logits, int64_t size, float *maxima)
      : logits(logits), size(size), num_groups((size + GROUP - 1) / GROUP), maxima(maxima) {
    const int64_t begin = (num_groups - 1) * GROUP;
    for (int i = 0; i < GROUP; i++)
      last_group[i] = begin + i < size ? logits[begin + i] : -INFINITE;
  }
  const float *group(int64_t g) const { return g == num_groups - 1 ? last_group : logits + g * GROUP; }
};

// Fills the row's maxima; returns the largest logit.
float survey(Row &row) {
  FloatPart best = -INFINITE - FloatPart{};
  for (int64_t g = 0; g < row.num_groups; g++) {
    const float *x = row.group(g);
    OCTAVO_EACH_PART {
      const int lane = i * PART_LANES;
      FloatPart largest = load_part(x + lane);
      for (int j = LANES; j < GROUP; j += LANES)
        largest = larger(load_part(x + j + lane), largest);
      memcpy(row.maxima + g * LANES + lane, &largest, sizeof largest);
      best = larger(largest, best);
    }
  }
  float top = -INFINITE;
  for (int lane = 0; lane < PART_LANES; lane++)
    top = best[lane] > top ? best[lane] : top;
  return top;
}

// The lowest id with this logit.
int32_t find(const Row &row, float logit) {
  for (int64_t g = 0; g < row.num_groups; g++)
    if (has_any_at_least(row.maxima + g * LANES, logit))
      for (int j = 0; j < GROUP; j++)
        if (row.group(g)[j] == logit)
          return (int32_t)(g * GROUP + j);
  return NO_TOKEN;
}

template <class V> OCTAVO_INLINE V scale(V logits, float temperature) { return logits / temperature + 0.0f; }

// Logits below this belong to scaled logits below `scaled`, whatever was rounded.
float logit_below(float scaled, float temperature) {
  return scaled * temperature - (SLACK + SLACK_RATIO * __builtin_fabsf(scaled)) * temperature;
}

// Every token whose logit is at least `least` and at most `most`.
void collect(const Row &row, float least, float most, float temperature, ScaledList &list) {
  list.count = 0;
  for (int64_t g = 0; g < row.num_groups; g++) {
    if (!has_any_at_least(row.maxima + g * LANES, least))
      continue;
    const float *x = row.group(g);
    for (int j = 0; j < GROUP; j += PART_LANES) {
      const FloatPart logits = load_part(x + j), scaled = scale(logits, temperature);
      uint32_t wanted = lane_bits((logits >= (least - FloatPart{})) & (logits <= (most - FloatPart{})));
      for (; wanted; wanted &= wanted - 1)
        list.scaled[list.count++] = scaled[__builtin_ctz(wanted)];
    }
  }
}

// Adds the integer weights of the tokens whose scaled logit is at least `threshold` to their buckets.
void weigh_row(const Row &row, float best, float threshold, float temperature, WeightHistogram histogram) {
  const float floor = threshold > best + WEIGHTLESS ? threshold : best + WEIGHTLESS;
  const float least = logit_below(floor, temperature);
  for (int64_t g = 0; g < row.num_groups; g++) {
    if (!has_any_at_least(row.maxima + g * LANES, least))
      continue;
    const float *x = row.group(g);
    int32_t weights[GROUP], places[GROUP], count = 0; // in memory, where lanes are looked at one by one
    for (int j = 0; j < GROUP; j += LANES) {
      if (!has_any_at_least(x + j, least))
        continue;
      OCTAVO_EACH_PART {
        const FloatPart scaled = scale(load_part(x + j + i * PART_LANES), temperature);
        const IntPart weight = integer_weight(scaled, best) & (scaled >= (threshold - FloatPart{}));
        const IntPart place =
            weight_bucket(scaled, best) * BUCKET_PARTS + (IntPart)part_lane_index() % BUCKET_PARTS;
        memcpy(weights + count, &weight, sizeof weight);
        memcpy(places + count, &place, sizeof place);
        count += PART_LANES;
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < count; i++)
      histogram.sums[(uint32_t)places[i]] += (uint32_t)weights[i];
  }
}

// top-p among the tokens whose scaled logit is at least `threshold`: the largest scaled logit such that the
// tokens from there weigh top_p of all. A pass over the row says in which bucket it lies, a list of its
// tokens where.
float find_nucleus(const SampleArgs &args, const Row &row, float best, float threshold, ScaledList &list,
                   uint64_t *histogram) {
  const float temperature = args.temperature;
  const WeightHistogram weights{histogram};
  memset(histogram, 0, sizeof(uint64_t) * WEIGHT_BUCKETS * BUCKET_PARTS);
  weigh_row(row, best, threshold, temperature, weights);
  uint64_t total = 0, above = 0;
  for (int b = 0; b < WEIGHT_BUCKETS; b++)
    total += weights.weight(b);
  const double target = args.top_p * (double)total;
  const uint64_t reached = (uint64_t)target + ((double)(uint64_t)target < target);
  const uint64_t needed = reached ? reached : 1; // a target that is no normal number may count as zero
  int bucket = 0;
  while (bucket < WEIGHT_BUCKETS - 1 && above + weights.weight(bucket) < needed)
    above += weights.weight(bucket++);
  const float top = best - bucket / BUCKETS_PER_UNIT, bottom = best - (bucket + 1) / BUCKETS_PER_UNIT;
  const float least = bucket < WEIGHT_BUCKETS - 1 ? bottom : -__FLT_MAX__;
  collect(row, logit_below(least, temperature), -logit_below(-top, temperature), temperature, list);
  weigh_bucket(list, best, threshold, bucket);
  return from_sort_key(key_reaching(list.scaled, list.weights, list.count, above, needed, histogram));
}

// The smallest scaled logit that survives top-k, then top-p among those, and min-p.
float find_threshold(const SampleArgs &args, const Row &row, float best, ScaledList &list,
                     uint64_t *histogram) {
  const float temperature = args.temperature;
  float threshold = -__FLT_MAX__;
  if (args.top_k > 0 && args.top_k < args.vocab_size) {
    const float least = kth_largest(row.maxima, row.num_groups * LANES, args.top_k, histogram);
    collect(row, least > threshold ? least : threshold, INFINITE, temperature, list);
    const float kth = kth_largest(list.scaled, list.count, args.top_k, histogram);
    threshold = kth > threshold ? kth : threshold;
  }
  if (args.top_p < 1.0)
    threshold = find_nucleus(args, row, best, threshold, list, histogram);
  if (args.min_p > 0.0f) {
    const float least = best + log(splat(args.min_p))[0];
    collect(row, logit_below(least, temperature), INFINITE, temperature, list);
    const float likely = smallest_likely(list, best, args.min_p);
    threshold = likely > threshold ? likely : threshold;
  }
  return threshold;
}

uint64_t noise_key(const SampleArgs &args) {
  return splitmix64(splitmix64(splitmix64(args.seed) ^ (uint64_t)args.branch) ^ (uint64_t)args.position);
}

// The best of the tokens whose scaled logit is at least `threshold`. The exact noise is computed only where
// its bound says that a token may win.
int32_t sample_from(const Row &row, float best_logit, float threshold, float temperature, uint64_t key) {
  const float inverse = 1.0f / temperature, best_scaled = scale(splat(best_logit), temperature)[0];
  const float slack = SLACK + SLACK_RATIO * (__builtin_fabsf(best_scaled) + MAX_NOISE);
  const float least = logit_below(threshold, temperature);
  Best best;
  float to_beat = best_scaled + gumbel(key, splat(find(row, best_logit)))[0] - slack;
  for (int64_t g = 0; g < row.num_groups; g++) {
    if (!has_any_at_least(row.maxima + g * LANES, least))
      continue;
    const float *x = row.group(g);
    for (int j = 0; j < GROUP; j += LANES) {
      const int32_t first = (int32_t)(g * GROUP + j);
      IntPart may_win = {};
      OCTAVO_EACH_PART {
        const BitsPart token = part_lane_index() + (uint32_t)(first + i * PART_LANES);
        const FloatPart logits = load_part(x + j + i * PART_LANES);
        may_win |= (logits * inverse + gumbel_bound(key, token) > (to_beat - FloatPart{})) &
                   (logits >= (least - FloatPart{}));
      }
      if (!has_any(may_win))
        continue;
      const i32x16 token = lane_index() + first;
      const f32x16 scaled = scale(load<f32x16>(x + j), temperature);
      const f32x16 score = scaled >= splat(threshold) ? scaled + gumbel(key, token) : splat(-INFINITE);
      best.take(score, token);
      const float top = tree_max(score) - slack;
      to_beat = top > to_beat ? top : to_beat;
    }
  }
  return best.lowest_id();
}

size_t round_up(int64_t columns) { return (columns + GROUP - 1) / GROUP * GROUP; }

} // namespace

size_t sample_scratch_bytes(int32_t vocab_size) {
  const size_t columns = round_up(vocab_size), maxima = columns / GROUP * LANES;
  return (3 * (columns + LANES) + maxima) * sizeof(float) + MAX_BUCKETS * sizeof(uint64_t);
}

// The sampled token id, or NOT_FINITE or NO_TOKEN. logits are left as they are.
int32_t sample_row(const SampleArgs &args, uint8_t *scratch) {
  const int64_t size = args.vocab_size, columns = round_up(size) + LANES;
  if (!is_finite(args.logits, size))
    return NOT_FINITE;
  uint64_t *histogram = (uint64_t *)scratch;
  float *adjusted = (float *)(histogram + MAX_BUCKETS);
  ScaledList list = {adjusted + columns, (uint32_t *)(adjusted + 2 * columns), 0};
  const float *logits = args.logits;
  if (!args.adjust.is_identity()) {
    memcpy(adjusted, logits, sizeof(float) * size);
    adjust(args.adjust, adjusted, size);
    logits = adjusted;
  }
  Row row(logits, size, (float *)(list.weights + columns));
  const float best = survey(row);
  if (best == -INFINITE)
    return NO_TOKEN;
  if (args.temperature == 0.0f)
    return find(row, best);
  const float best_scaled = scale(splat(best), args.temperature)[0];
  const float threshold = find_threshold(args, row, best_scaled, list, histogram);
  return sample_from(row, best, threshold, args.temperature, noise_key(args));
}

} // namespace OCTAVO_KERNEL_NAMESPACE
