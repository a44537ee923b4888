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

Normalizer normalizer(const float *x, int64_t size) {
  f32x16 largest = splat(-INFINITE);
  for (int64_t i = 0; i < size; i += LANES)
    largest = maximum(load_or(x, i, size, -INFINITE), largest);
  const float top = tree_max(largest);
  float total = 0.0f;
  for (int64_t i = 0; i < size;) {
    f32x16 sum = {};
    for (int v = 0; v < VECTORS_PER_SUM && i < size; v++, i += LANES)
      sum += exp(load_or(x, i, size, -INFINITE) - top);
    total += tree_sum(sum);
  }
  return {top, log(splat(total))[0]};
}

// 1 + the number of tokens that are more probable, or as probable and of a lower id.
int32_t rank_of(const float *x, int64_t size, int32_t token) {
  const f32x16 own = splat(x[token]);
  const i32x16 id = splat(token);
  i32x16 count = {};
  for (int64_t i = 0; i < size; i += LANES) {
    const f32x16 v = load_or(x, i, size, -INFINITE);
    const i32x16 is_before = (v == own) & ((lane_index() + (int32_t)i) < id);
    count -= (v > own) | is_before; // a true lane is -1
  }
  int32_t rank = 1;
  for (int lane = 0; lane < LANES; lane++)
    rank += count[lane];
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
