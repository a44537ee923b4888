// Numbers as integers, the digits, times a unit of their own: what an int8 KV cache holds and its attention
// multiplies, and activations of int8. Sums of products of digits are exact in 32 bits, so they have no order
// to keep.
#pragma once
#include "vec16.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr float INT8_DIGITS = 127.0f;    // the largest digit of a key, a value or an activation
constexpr float QUERY_DIGITS = 32512.0f; // of a query or its weights: 127 * 256, which splits into two bytes
constexpr int MAX_INT8_HEAD_DIM = 512;   // products of digits that fit a sum of 32 bits
static_assert(127 * 32512.0 * MAX_INT8_HEAD_DIM < 0x1p31, "a sum of products would overflow");

struct Scaling {
  float unit, per_unit; // value = digit * unit, digit = value * per_unit
};

// largest: the greatest magnitude among the values. Where one is not finite, all digits are 0 and the unit is
// infinite, so that what is computed from them is not finite either.
OCTAVO_INLINE Scaling scaling_of(float largest, float max_digit) {
  if (!(largest <= __FLT_MAX__))
    return {__builtin_inff(), 0.0f};
  const float unit = largest / max_digit;
  return {unit, unit > 0.0f ? max_digit / largest : 0.0f};
}

// Rounded to nearest even.
template <class V> OCTAVO_INLINE auto digits_of(V x, const Scaling &scaling) {
  using Integers = decltype(x > x);
  const float magic = 12582912.0f; // 1.5 * 2^23: the sum's last bit is worth 1
  const Integers digits = (Integers)(x * scaling.per_unit + magic) - 0x4b400000;
  return digits & (scaling.per_unit > 0.0f ? -1 : 0);
}

// The greatest magnitude of `count` values, a multiple of 16; NaN if one is.
OCTAVO_INLINE float largest_of(const bf16 *x, int count) {
  u16x16 largest = {};
  for (int i = 0; i < count; i += LANES) {
    const u16x16 magnitude = load<u16x16>(x + i) & (uint16_t)0x7fff;
    largest = magnitude > largest ? magnitude : largest;
  }
  u16x8 halves[2];
  memcpy(halves, &largest, sizeof largest);
  const auto larger = [](u16x8 a, u16x8 b) { return a > b ? a : b; };
  u16x8 best = larger(halves[0], halves[1]);
  best = larger(best, __builtin_shuffle(best, u16x8{4, 5, 6, 7, 0, 1, 2, 3}));
  best = larger(best, __builtin_shuffle(best, u16x8{2, 3, 0, 1, 6, 7, 4, 5}));
  best = larger(best, __builtin_shuffle(best, u16x8{1, 0, 3, 2, 5, 4, 7, 6}));
  const uint32_t bits = (uint32_t)best[0] << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
