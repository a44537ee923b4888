// What sample.cpp and logprobs.cpp share: passes over one row of logits.
#pragma once
#include "vec16.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr float INFINITE = __builtin_inff();

// Every lane of p beyond `size` reads as `fill`.
OCTAVO_INLINE f32x16 load_or(const float *p, int64_t at, int64_t size, float fill) {
  if (at + LANES <= size)
    return load<f32x16>(p + at);
  f32x16 v = splat(fill);
  memcpy(&v, p + at, sizeof(float) * (size - at));
  return v;
}

OCTAVO_INLINE bool is_finite(const float *x, int64_t size) {
  IntPart bad = {};
  int64_t at = 0;
  for (; at + PART_LANES <= size; at += PART_LANES)
    bad |= (IntPart)((BitsPart)load_part(x + at) & 0x7fffffffu) > 0x7f7fffff;
  bool all = !has_any(bad);
  for (; at < size; at++) {
    uint32_t bits;
    memcpy(&bits, x + at, sizeof bits);
    all &= (bits & 0x7fffffffu) < 0x7f800000u;
  }
  return all;
}

// The largest value so far and the lowest id that has it.
struct Best {
  f32x16 value = splat(-INFINITE);
  i32x16 index = splat(INT32_MAX);

  OCTAVO_INLINE_MEMBER void take(f32x16 candidate, i32x16 id) {
    i32x16 better = candidate > value;
    value = better ? candidate : value;
    index = better ? id : index;
  }
  // NO_TOKEN when nothing was above -inf.
  OCTAVO_INLINE_MEMBER int32_t lowest_id() const {
    float top = tree_max(value);
    int32_t id = INT32_MAX;
    for (int lane = 0; lane < LANES; lane++)
      if (value[lane] == top && index[lane] < id)
        id = index[lane];
    return id == INT32_MAX ? NO_TOKEN : id;
  }
};

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
