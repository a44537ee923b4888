// What the ways to multiply by digits of activations share: weights as integers, and the order of operations
// that docs/exactness.md defines.
#pragma once
#include "dot_bytes.h"
#include "linear_block.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int QUADS = CHUNK / 4; // of a group

// Weights as integers: bytes up to LARGEST, of which ZERO is subtracted.
template <int LARGEST_, int ZERO_, bool HAS_MINIMUM_ = false, bool SIGNED_ = false> struct IntegerFormat {
  static constexpr int LARGEST = LARGEST_, ZERO = ZERO_;
  static constexpr bool HAS_MINIMUM = HAS_MINIMUM_, SIGNED = SIGNED_;
};
template <WeightFormat> struct Integers;
template <> struct Integers<WeightFormat::Q4_0> : IntegerFormat<15, 8> {};
template <> struct Integers<WeightFormat::Q4_1> : IntegerFormat<15, 0, true> {};
template <> struct Integers<WeightFormat::Q4_K> : IntegerFormat<15, 0, true> {};
template <> struct Integers<WeightFormat::Q5_0> : IntegerFormat<31, 16> {};
template <> struct Integers<WeightFormat::Q5_1> : IntegerFormat<31, 0, true> {};
template <> struct Integers<WeightFormat::Q5_K> : IntegerFormat<31, 0, true> {};
template <> struct Integers<WeightFormat::Q6_K> : IntegerFormat<63, 32> {};
template <> struct Integers<WeightFormat::Q8_0> : IntegerFormat<128, 0, false, true> {};

// Of Q6_K: sums over the halves of a group, each by the half's own integer scale. Exact.
OCTAVO_INLINE Vec join_halves(const Group<WeightFormat::Q6_K> &group, const Vec &first, const Vec &second) {
  return multiply_add(first, group.steps[0], multiply(second, group.steps[1]));
}

// The order of operations: sum + integers * (scale * unit), then + minimum * (unit * sum of digits).
template <WeightFormat F>
OCTAVO_INLINE Vec add_group(const Vec &sum, const Vec &integers, const Group<F> &group, const DigitGroup &x) {
  const Vec result = add(sum, multiply(integers, multiply(group.scale, broadcast(x.unit))));
  if constexpr (Integers<F>::HAS_MINIMUM)
    return add(result, multiply(group.minimum, broadcast(x.unit_sum)));
  return result;
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
