// What is done to a row of logits before a token is sampled: bias, penalties, masks.
#pragma once
#include "logits_row.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

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

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
