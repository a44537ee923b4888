// 16 lanes of fp32 and int32 on GCC vector types: the same source gives the same bits under every instruction
// set.
//
// Only + - * / compare, select and integer operations. No libm. Where registers are narrower the vectors pass
// through memory, which innermost loops notice: those of linear layers, attention and rows use parts.h.
#pragma once
#include "parts.h"

namespace OCTAVO_KERNEL_NAMESPACE {

constexpr int LANES = 16;
constexpr float EXP_FLOOR = -86.0f;
typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef int8_t i8x16 __attribute__((vector_size(16)));

template <class V, class T> OCTAVO_INLINE V load(const T *p) {
  V v;
  memcpy(&v, p, sizeof v);
  return v;
}
template <class V, class T> OCTAVO_INLINE void store(T *p, V v) { memcpy(p, &v, sizeof v); }

// As many lanes as there are values, the others zero.
template <class V> OCTAVO_INLINE V load_up_to(const float *p, int count) {
  V v = {};
  if (count >= (int)(sizeof v / sizeof(float)))
    memcpy(&v, p, sizeof v);
  else if (count > 0)
    memcpy(&v, p, sizeof(float) * count);
  return v;
}

// The sixteen lanes that parts make up.
OCTAVO_INLINE f32x16 joined(const FloatPart (&parts)[PARTS]) { return load<f32x16>(parts); }
OCTAVO_INLINE i32x16 joined(const IntPart (&parts)[PARTS]) { return load<i32x16>(parts); }

OCTAVO_INLINE f32x16 splat(float x) { return x - f32x16{}; } // 0 + x would be computed: it is not x for -0
OCTAVO_INLINE i32x16 splat(int32_t x) { return i32x16{} + x; }
OCTAVO_INLINE u32x16 splat(uint32_t x) { return u32x16{} + x; }
OCTAVO_INLINE i32x16 lane_index() { return i32x16{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }
OCTAVO_INLINE f32x16 as_float(u32x16 x) { return (f32x16)x; }
OCTAVO_INLINE u32x16 as_bits(f32x16 x) { return (u32x16)x; }

// Takes the second operand on a tie.
OCTAVO_INLINE f32x16 minimum(f32x16 a, f32x16 b) { return a < b ? a : b; }

// Of four-byte lanes: lane j takes lane j + 8, then j + 4, j + 2, j + 1.
template <class V, class Take> OCTAVO_INLINE auto tree(V v, Take &&take) {
  typedef decltype(+v[0]) Eight __attribute__((vector_size(32)));
  typedef decltype(+v[0]) Four __attribute__((vector_size(16)));
  typedef int32_t i32x4 __attribute__((vector_size(16)));
  Eight halves[2];
  memcpy(halves, &v, sizeof v);
  const Eight eight = take(halves[0], halves[1]);
  Four quarters[2];
  memcpy(quarters, &eight, sizeof eight);
  Four lanes = take(quarters[0], quarters[1]);
  lanes = take(lanes, __builtin_shuffle(lanes, i32x4{2, 3, 0, 1}));
  lanes = take(lanes, __builtin_shuffle(lanes, i32x4{1, 0, 3, 2}));
  return +lanes[0];
}

template <class V> OCTAVO_INLINE auto tree_sum(V v) {
  return tree(v, [](auto a, auto b) { return a + b; });
}

template <class V> OCTAVO_INLINE auto tree_max(V v) {
  return tree(v, [](auto a, auto b) { return a > b ? a : b; });
}

// bf16 <-> fp32. Rounding is to nearest even; NaN stays NaN.
OCTAVO_INLINE f32x16 from_bf16(u16x16 x) { return as_float(__builtin_convertvector(x, u32x16) << 16); }
template <class Bits> OCTAVO_INLINE Bits round_number_to_bf16_bits(Bits x) {
  return (x + 0x7fffu + ((x >> 16) & 1u)) >> 16;
}
template <size_t BYTES> struct IntegersOf {
  typedef uint32_t Bits __attribute__((vector_size(BYTES)));
  typedef uint16_t Halves __attribute__((vector_size(BYTES / 2)));
};
// V: sixteen lanes, or a part of them.
template <class V> OCTAVO_INLINE typename IntegersOf<sizeof(V)>::Halves to_bf16(V x) {
  using Integers = IntegersOf<sizeof(V)>;
  using Bits = typename Integers::Bits;
  const Bits bits = x != x ? 0x7fc0u - Bits{} : round_number_to_bf16_bits((Bits)x);
  return __builtin_convertvector(bits, typename Integers::Halves);
}
OCTAVO_INLINE bf16 to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return x != x ? 0x7fc0 : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

// Of numbers that fit.
OCTAVO_INLINE i8x16 to_bytes(const IntPart (&x)[PARTS]) {
#if defined(__AVX512F__)
  return (i8x16)_mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)x[0]);
#elif defined(__SSE2__)
  __m128i fours[4];
  memcpy(fours, x, sizeof x);
  return (i8x16)_mm_packs_epi16(_mm_packs_epi32(fours[0], fours[1]), _mm_packs_epi32(fours[2], fours[3]));
#else
  return __builtin_convertvector(joined(x), i8x16);
#endif
}

#define OCTAVO_EACH _Pragma("GCC unroll 16") for (int i = 0; i < COUNT; i++)

// e^x (Cephes expf) of each x, from -86 to 88. V: 16 lanes, or a part of them. The steps of several
// alternate: each waits for the one before it, and processors do not look far enough ahead to fill that time.
template <class V, int COUNT> OCTAVO_INLINE void exp_in_range(V (&x)[COUNT]) {
  using Integers = decltype(x[0] > x[0]);
  const V magic = 12582912.0f - V{};
  V n[COUNT], p[COUNT];
  OCTAVO_EACH n[i] = x[i] * 1.44269504088896341f;
  OCTAVO_EACH n[i] = (n[i] + magic) - magic;
  OCTAVO_EACH x[i] = x[i] - n[i] * 0.693359375f;
  OCTAVO_EACH x[i] = x[i] - n[i] * -2.12194440e-4f;
  OCTAVO_EACH p[i] = x[i] * 1.9875691500e-4f + 1.3981999507e-3f;
  OCTAVO_EACH p[i] = p[i] * x[i] + 8.3334519073e-3f;
  OCTAVO_EACH p[i] = p[i] * x[i] + 4.1665795894e-2f;
  OCTAVO_EACH p[i] = p[i] * x[i] + 1.6666665459e-1f;
  OCTAVO_EACH p[i] = p[i] * x[i] + 5.0000001201e-1f;
  OCTAVO_EACH p[i] = (p[i] * (x[i] * x[i]) + x[i]) + 1.0f;
  OCTAVO_EACH x[i] = (V)((Integers)p[i] + (__builtin_convertvector(n[i], Integers) << 23));
}

// e^x of each x up to 88; exactly 0 below -86. Never NaN.
template <class V, int COUNT> OCTAVO_INLINE void exp_of_each(V (&x)[COUNT]) {
  const V floor = EXP_FLOOR - V{};
  V y[COUNT];
  OCTAVO_EACH y[i] = x[i] > floor ? x[i] : floor;
  exp_in_range(y);
  OCTAVO_EACH x[i] = x[i] < floor ? V{} : y[i];
}

// The same for every x: constant above 88.
template <class V, int COUNT> OCTAVO_INLINE void exp_of_any(V (&x)[COUNT]) {
  const V most = 88.0f - V{};
  OCTAVO_EACH x[i] = x[i] > most ? most : x[i];
  exp_of_each(x);
}

// V: sixteen lanes, or a part of them.
template <class V> OCTAVO_INLINE V exp(V x) {
  FloatPart parts[sizeof x / sizeof(FloatPart)];
  memcpy(parts, &x, sizeof x);
  exp_of_any(parts);
  memcpy(&x, parts, sizeof x);
  return x;
}

// cap tanh(x / cap), with tanh y = 1 - 2 / (1 + e^2y). NaN stays NaN.
template <class V> OCTAVO_INLINE V softcap(V x, float cap) {
  const V capped = (1.0f - 2.0f / (1.0f + exp(x / cap * 2.0f))) * cap;
  return x != x ? x : capped;
}

// ln x (Cephes logf) for normal, positive x.
OCTAVO_INLINE f32x16 log(f32x16 x) {
  i32x16 bits = (i32x16)x;
  i32x16 e = (bits - 0x3f3504f3) >> 23;
  f32x16 f = (f32x16)(bits - (e << 23)) - 1.0f;
  f32x16 exponent = __builtin_convertvector(e, f32x16);
  f32x16 p = splat(7.0376836292e-2f);
  p = p * f + -1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f + -1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f + -1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f + -2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  f32x16 z = f * f;
  f32x16 y = (p * f) * z;
  y = y + exponent * -2.12194440e-4f;
  y = y - z * 0.5f;
  return (f + y) + exponent * 0.693359375f;
}

} // namespace OCTAVO_KERNEL_NAMESPACE
