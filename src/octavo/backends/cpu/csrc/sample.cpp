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

OCTAVO_INLINE f32x16 scale(f32x16 logits, float temperature) { return logits / temperature + 0.0f; }

OCTAVO_INLINE void append(TokenList &list, f32x16 scaled, i32x16 token, i32x16 is_wanted) {
#if defined(__AVX512F__)
  const __mmask16 mask = _mm512_movepi32_mask((__m512i)is_wanted);
  _mm512_mask_compressstoreu_ps(list.scaled + list.count, mask, (__m512)scaled);
  _mm512_mask_compressstoreu_epi32(list.ids + list.count, mask, (__m512i)token);
  list.count += __builtin_popcount(mask);
#else
  for (int lane = 0; lane < LANES; lane++)
    if (is_wanted[lane]) {
      list.scaled[list.count] = scaled[lane];
      list.ids[list.count++] = token[lane];
    }
#endif
}

// Every token whose logit is at least `least`.
void collect(const Row &row, float least, float temperature, TokenList &list) {
  list.count = 0;
  for (int64_t g = 0; g < row.num_groups; g++) {
    if (!has_any_at_least(row.maxima + g * LANES, least))
      continue;
    const float *x = row.group(g);
    for (int j = 0; j < GROUP; j += LANES) {
      if (!has_any_at_least(x + j, least))
        continue;
      const f32x16 logits = load<f32x16>(x + j);
      append(list, scale(logits, temperature), lane_index() + (int32_t)(g * GROUP + j),
             logits >= splat(least));
    }
  }
}

// The integer weights of the whole vocabulary, summed.
uint64_t total_weight(const Row &row, float best, float temperature) {
  const float weightless = (best + WEIGHTLESS) * temperature - SLACK;
  uint64_t total = 0;
  for (int64_t g = 0; g < row.num_groups; g++) {
    if (!has_any_at_least(row.maxima + g * LANES, weightless))
      continue;
    WeightSum sum;
    for (int j = 0; j < GROUP; j += LANES)
      sum.add((u32x16)integer_weight(scale(load<f32x16>(row.group(g) + j), temperature), best));
    total += sum.total();
  }
  return total;
}

// The survivors of top-k, then top-p among those, and min-p. best is the largest scaled logit.
void find_survivors(const SampleArgs &args, const Row &row, float best, TokenList &list) {
  const float temperature = args.temperature, finite = -__FLT_MAX__;
  const auto logit_at = [&](float scaled) {
    return scaled * temperature - (SLACK + SLACK_RATIO * __builtin_fabsf(scaled)) * temperature;
  };
  const bool has_top_k = args.top_k > 0 && args.top_k < args.vocab_size;
  float threshold = -INFINITE;
  if (has_top_k) {
    const float least = kth_largest(row.maxima, row.num_groups * LANES, args.top_k, list.histogram);
    collect(row, least > finite ? least : finite, temperature, list);
    threshold = kth_largest(list.scaled, list.count, args.top_k, list.histogram);
    keep_from(list, threshold);
  }
  if (args.top_p < 1.0) {
    double target = 0.0;
    uint64_t mass = 0;
    if (has_top_k) {
      mass = weigh(list, best);
      target = args.top_p * (double)mass;
    } else {
      target = args.top_p * (double)total_weight(row, best, temperature);
      collect(row, logit_at(best + LIKELY), temperature, list);
      mass = weigh(list, best);
      if ((double)mass < target) {
        collect(row, logit_at(best + WEIGHTLESS), temperature, list);
        weigh(list, best);
      }
    }
    threshold = from_sort_key(key_reaching(list.scaled, list.weights, list.count, target, list.histogram));
    keep_from(list, threshold);
  }
  if (args.min_p > 0.0f) {
    if (!has_top_k && args.top_p >= 1.0)
      collect(row, logit_at(best + log(splat(args.min_p))[0]), temperature, list);
    keep_from(list, smallest_likely(list, best, args.min_p));
  }
}

uint64_t noise_key(const SampleArgs &args) {
  return splitmix64(splitmix64(splitmix64(args.seed) ^ (uint64_t)args.branch) ^ (uint64_t)args.position);
}

// Whether one of sixteen tokens may score more than that.
OCTAVO_INLINE bool may_beat(const float *scaled, const int32_t *ids, uint64_t key, float to_beat) {
  IntPart any = {};
  OCTAVO_EACH_PART {
    BitsPart token;
    memcpy(&token, ids + i * PART_LANES, sizeof token);
    any |= load_part(scaled + i * PART_LANES) + gumbel_bound(key, token) > (to_beat - FloatPart{});
  }
  return has_any(any);
}

// Of a list. The exact noise is computed only where its bound says that a token may win.
int32_t sample_list(const TokenList &list, uint64_t key) {
  Best best;
  float to_beat = -INFINITE;
  for (int64_t i = 0; i < list.count; i += LANES) {
    if (i + LANES <= list.count && !may_beat(list.scaled + i, list.ids + i, key, to_beat))
      continue;
    i32x16 token = splat(INT32_MAX);
    memcpy(&token, list.ids + i, sizeof(int32_t) * (list.count - i < LANES ? list.count - i : LANES));
    const f32x16 scaled = load_or(list.scaled, i, list.count, -INFINITE);
    const f32x16 score = scaled + gumbel(key, token);
    best.take(score, token);
    const float top = tree_max(score) - SLACK - SLACK_RATIO * __builtin_fabsf(tree_max(score));
    to_beat = top > to_beat ? top : to_beat;
  }
  return best.lowest_id();
}

// Of all tokens. The exact noise is computed only where its bound says that a token may win.
int32_t sample_all(const Row &row, float best_logit, float temperature, uint64_t key) {
  const float inverse = 1.0f / temperature, best_scaled = scale(splat(best_logit), temperature)[0];
  const float slack = SLACK + SLACK_RATIO * (__builtin_fabsf(best_scaled) + MAX_NOISE);
  Best best;
  float to_beat = best_scaled + gumbel(key, splat(find(row, best_logit)))[0] - slack;
  for (int64_t g = 0; g < row.num_groups; g++) {
    const float *x = row.group(g);
    for (int j = 0; j < GROUP; j += LANES) {
      const int32_t first = (int32_t)(g * GROUP + j);
      IntPart may_win = {};
      OCTAVO_EACH_PART {
        const BitsPart token = part_lane_index() + (uint32_t)(first + i * PART_LANES);
        const FloatPart approximate = load_part(x + j + i * PART_LANES) * inverse;
        may_win |= approximate + gumbel_bound(key, token) > (to_beat - FloatPart{});
      }
      if (!has_any(may_win))
        continue;
      const i32x16 token = lane_index() + first;
      const f32x16 score = scale(load<f32x16>(x + j), temperature) + gumbel(key, token);
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
  return (4 * (columns + LANES) + maxima) * sizeof(float) + MAX_BUCKETS * sizeof(uint64_t);
}

// The sampled token id, or NOT_FINITE or NO_TOKEN. logits are left as they are.
int32_t sample_row(const SampleArgs &args, uint8_t *scratch) {
  const int64_t size = args.vocab_size, columns = round_up(size) + LANES;
  if (!is_finite(args.logits, size))
    return NOT_FINITE;
  TokenList list = {};
  list.histogram = (uint64_t *)scratch;
  float *adjusted = (float *)(list.histogram + MAX_BUCKETS);
  list.scaled = adjusted + columns;
  list.ids = (int32_t *)(list.scaled + columns);
  list.weights = (uint32_t *)(list.ids + columns);
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
  const bool keeps_all = (args.top_k <= 0 || args.top_k >= size) && args.top_p >= 1.0 && args.min_p <= 0.0f;
  if (keeps_all)
    return sample_all(row, best, args.temperature, noise_key(args));
  find_survivors(args, row, scale(splat(best), args.temperature)[0], list);
  return sample_list(list, noise_key(args));
}

} // namespace OCTAVO_KERNEL_NAMESPACE
