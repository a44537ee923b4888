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

// One group of several rows.
struct DigitRows {
  const DigitGroup *first;
  int64_t stride; // groups from row to row

  OCTAVO_INLINE_MEMBER const DigitGroup &operator[](int row) const { return first[row * stride]; }
};

// Of `count` quads from quad `begin` on, all or a half: sums of products, exact in fp32. Weights: a Group<F>,
// or what is made of it.
template <class Dot, WeightFormat F, int R, int P, class Weights>
OCTAVO_INLINE void sum_products(const Weights (&groups)[P], const DigitRows &x, int begin, int count,
                                Vec (&values)[R][P]) {
  constexpr bool SIGNED = Integers<F>::SIGNED;
  constexpr int ZERO = SIGNED ? (int)Dot::ZERO_OF_SIGNED : Integers<F>::ZERO;
  typename Dot::template Sum<Integers<F>::LARGEST, SIGNED> sums[R][P];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    const int32_t *halves = x[r].sums;
    const int32_t digits = count == QUADS ? halves[0] + halves[1] : halves[2 * begin / QUADS];
#pragma GCC unroll 2
    for (int p = 0; p < P; p++)
      sums[r][p].begin(ZERO ? -ZERO * digits : 0);
  }
#pragma GCC unroll 8
  for (int i = 0; i < count; i++) {
    Bits quads[P];
#pragma GCC unroll 2
    for (int p = 0; p < P; p++)
      quads[p] = groups[p].quad(begin + i);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const typename Dot::template Factor<(P > 1)> factor(x[r].digits + 4 * (begin + i));
#pragma GCC unroll 2
      for (int p = 0; p < P; p++)
        sums[r][p].add(typename Dot::template Quad<SIGNED>(quads[p]), factor, i);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 2
    for (int p = 0; p < P; p++)
      values[r][p] = to_float(sums[r][p].value());
}

// Of Q6_K: sums over the halves of a group, each by the half's own integer scale. Exact.
template <class Weights>
OCTAVO_INLINE Vec join_halves(const Weights &group, const Vec &first, const Vec &second) {
  return multiply_add(first, group.steps[0], multiply(second, group.steps[1]));
}

// Sums of one group as they come, or of Q6_K's halves joined.
template <class Dot, WeightFormat F, int R, int P, class Weights>
OCTAVO_INLINE void sum_group(const Weights (&groups)[P], const DigitRows &x, Vec (&values)[R][P]) {
  if constexpr (F == WeightFormat::Q6_K) {
    Vec second[R][P];
    sum_products<Dot, F, R, P>(groups, x, 0, QUADS / 2, values);
    sum_products<Dot, F, R, P>(groups, x, QUADS / 2, QUADS / 2, second);
#pragma GCC unroll 2
    for (int p = 0; p < P; p++)
#pragma GCC unroll 16
      for (int r = 0; r < R; r++)
        values[r][p] = join_halves(groups[p], values[r][p], second[r][p]);
  } else {
    sum_products<Dot, F, R, P>(groups, x, 0, QUADS, values);
  }
}

// The order of operations: sum + integers * (scale * unit), then + minimum * (unit * sum of digits).
template <WeightFormat F, class Weights>
OCTAVO_INLINE Vec add_group(const Vec &sum, const Vec &integers, const Weights &group, const DigitGroup &x) {
  const Vec result = add(sum, multiply(integers, multiply(group.scale, broadcast(x.unit))));
  if constexpr (Integers<F>::HAS_MINIMUM)
    return add(result, multiply(group.minimum, broadcast(x.unit_sum)));
  return result;
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
