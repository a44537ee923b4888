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

OCTAVO_INLINE bool has_any(i32x16 mask) {
  i32x16 any = mask;
  int32_t lane[LANES], all = 0;
  store(lane, any);
  for (int i = 0; i < LANES; i++)
    all |= lane[i];
  return all != 0;
}

OCTAVO_INLINE bool is_finite(const float *x, int64_t size) {
  i32x16 bad = {};
  for (int64_t i = 0; i < size; i += LANES) {
    u32x16 magnitude = as_bits(load_or(x, i, size, 0.0f)) & 0x7fffffffu;
    bad |= (i32x16)(magnitude >= splat(0x7f800000u));
  }
  return !has_any(bad);
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
