// Log probabilities of one row of raw logits: see docs/exactness.md, "logprobs".
#include "entries.h"
#include "logits_row.h"

namespace OCTAVO_KERNEL_NAMESPACE {

namespace {

constexpr int VECTORS_PER_SUM = 64; // whose exponentials are summed before they join the total

// The log probability of a logit x is (x - top) - log_total.
struct Normalizer {
  float top, log_total;

  float logprob(float logit) const { return (logit - top) - log_total; }
};

// Calls take(16 logits, id of the first) for a row, whose last vector is filled up with -inf.
template <class Take>
OCTAVO_INLINE void each_vector(const float *x, int64_t begin, int64_t end, Take &&take) {
  int64_t i = begin;
  for (; i + LANES <= end; i += LANES)
    take(x + i, i);
  if (i < end) {
    float last[LANES];
    store(last, load_or(x, i, end, -INFINITE));
    take(last, i);
  }
}

Normalizer normalizer(const float *x, int64_t size) {
  FloatPart largest[PARTS];
  OCTAVO_EACH_PART largest[i] = -INFINITE - FloatPart{};
  each_vector(x, 0, size, [&](const float *v, int64_t) {
    OCTAVO_EACH_PART largest[i] = larger(load_part(v + i * PART_LANES), largest[i]);
  });
  const float top = tree_max(load<f32x16>(largest));
  constexpr int64_t STRETCH = VECTORS_PER_SUM * LANES;
  float total = 0.0f;
  for (int64_t begin = 0; begin < size; begin += STRETCH) {
    FloatPart sum[PARTS] = {};
    each_vector(x, begin, begin + STRETCH < size ? begin + STRETCH : size, [&](const float *v, int64_t) {
      FloatPart weights[PARTS];
      OCTAVO_EACH_PART weights[i] = load_part(v + i * PART_LANES) - top;
      exp_of_each(weights);
      OCTAVO_EACH_PART sum[i] += weights[i];
    });
    total += tree_sum(load<f32x16>(sum));
  }
  return {top, log(splat(total))[0]};
}

// 1 + the number of tokens that are more probable, or as probable and of a lower id.
int32_t rank_of(const float *x, int64_t size, int32_t token) {
  const FloatPart own = x[token] - FloatPart{};
  IntPart count[PARTS] = {};
  each_vector(x, 0, size, [&](const float *v, int64_t first) {
    OCTAVO_EACH_PART {
      const FloatPart part = load_part(v + i * PART_LANES);
      const IntPart id = (IntPart)part_lane_index() + (int32_t)(first + i * PART_LANES);
      count[i] -= (part > own) | ((part == own) & (id < token)); // a true lane is -1
    }
  });
  int32_t rank = 1;
  OCTAVO_EACH_PART for (int lane = 0; lane < PART_LANES; lane++) rank += count[i][lane];
  return rank;
}

// The num_top largest, ties to the lower id: ids ascend as they are read, so a later tie goes behind.
void find_top(const ScoreArgs &args) {
  int count = 0;
  float *values = args.top_logprobs; // logits until all are found
  float least = -INFINITE;
  for (int64_t i = 0; i < args.vocab_size; i += LANES) {
    if (i + LANES <= args.vocab_size && least > -INFINITE && !has_any_at_least(args.logits + i, least))
      continue;
    const f32x16 v = load_or(args.logits, i, args.vocab_size, -INFINITE);
    for (int lane = 0; lane < LANES; lane++) {
      if (!(v[lane] > least))
        continue;
      int place = count < args.num_top ? count++ : args.num_top - 1;
      for (; place > 0 && values[place - 1] < v[lane]; place--) {
        values[place] = values[place - 1];
        args.top_ids[place] = args.top_ids[place - 1];
      }
      values[place] = v[lane];
      args.top_ids[place] = (int32_t)i + lane;
      if (count == args.num_top)
        least = values[count - 1];
    }
  }
}

} // namespace

bool score_row(const ScoreArgs &args) {
  if (!is_finite(args.logits, args.vocab_size))
    return false;
  const Normalizer normal = normalizer(args.logits, args.vocab_size);
  *args.logprob = normal.logprob(args.logits[args.token]);
  *args.rank = rank_of(args.logits, args.vocab_size, args.token);
  if (args.num_top > 0)
    find_top(args);
  for (int k = 0; k < args.num_top && k < args.vocab_size; k++)
    args.top_logprobs[k] = normal.logprob(args.top_logprobs[k]);
  return true;
}

} // namespace OCTAVO_KERNEL_NAMESPACE
