// Sixteen lanes as 1, 2 or 4 machine registers: what the compiler handles best under each instruction set.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "isa.h"
#include "kernels.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

#if defined(__AVX512F__)
constexpr int PARTS = 1;
#elif defined(__AVX2__)
constexpr int PARTS = 2;
#else
constexpr int PARTS = 4;
#endif
constexpr int PART_LANES = PANEL / PARTS;

typedef float FloatPart __attribute__((vector_size(4 * PART_LANES)));
typedef uint32_t BitsPart __attribute__((vector_size(4 * PART_LANES)));
typedef int32_t IntPart __attribute__((vector_size(4 * PART_LANES)));
typedef uint16_t HalvesPart __attribute__((vector_size(2 * PART_LANES)));

#define OCTAVO_EACH_PART _Pragma("GCC unroll 4") for (int i = 0; i < PARTS; i++)

OCTAVO_INLINE FloatPart load_part(const float *p) {
  FloatPart v;
  memcpy(&v, p, sizeof v);
  return v;
}

OCTAVO_INLINE FloatPart load_part(const bf16 *p) {
#if defined(__AVX512F__)
  const __m512i halves = _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256((const __m256i *)p));
  return (FloatPart)_mm512_maskz_slli_epi32(0xffff, halves, 16);
#else
  HalvesPart halves;
  memcpy(&halves, p, sizeof halves);
  return (FloatPart)(__builtin_convertvector(halves, BitsPart) << 16);
#endif
}

// a * b + c, rounded once. Without the instruction: the product of two bf16 is exact in double, and the
// double sum of two numbers of 24 bits rounds to fp32 as the exact sum does (53 >= 2 * 24 + 1 bits).
OCTAVO_INLINE FloatPart fma_part(FloatPart a, FloatPart b, FloatPart c) {
#if defined(__AVX512F__)
  return (FloatPart)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (FloatPart)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__SSE2__)
  __m128 x = (__m128)a, y = (__m128)b, z = (__m128)c;
  __m128d low = _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(x), _mm_cvtps_pd(y)), _mm_cvtps_pd(z));
  x = _mm_movehl_ps(x, x), y = _mm_movehl_ps(y, y), z = _mm_movehl_ps(z, z);
  __m128d high = _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(x), _mm_cvtps_pd(y)), _mm_cvtps_pd(z));
  return (FloatPart)_mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
#else
  FloatPart r;
  for (int lane = 0; lane < PART_LANES; lane++)
    r[lane] = __builtin_fmaf(a[lane], b[lane], c[lane]);
  return r;
#endif
}

OCTAVO_INLINE FloatPart larger(FloatPart a, FloatPart b) { return a > b ? a : b; }

OCTAVO_INLINE BitsPart part_lane_index() {
  BitsPart lanes;
  for (int i = 0; i < PART_LANES; i++)
    lanes[i] = i;
  return lanes;
}

// Bit i: whether lane i is true.
OCTAVO_INLINE uint32_t lane_bits(IntPart mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask);
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask);
#elif defined(__SSE2__)
  return _mm_movemask_ps((__m128)mask);
#else
  uint32_t bits = 0;
  for (int lane = 0; lane < PART_LANES; lane++)
    bits |= (mask[lane] & 1u) << lane;
  return bits;
#endif
}

OCTAVO_INLINE bool has_any(IntPart mask) { return lane_bits(mask) != 0; }

// Of sixteen values.
OCTAVO_INLINE bool has_any_at_least(const float *values, float threshold) {
  IntPart any = {};
  OCTAVO_EACH_PART any |= load_part(values + i * PART_LANES) >= (threshold - FloatPart{});
  return has_any(any);
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
