// Sixteen lanes of fp32 or 32-bit integers as 1, 2 or 4 machine registers, for the linear kernels.
// Every function gives the same bits under every instruction set.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "parts.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

struct Vec {
  FloatPart part[PARTS];
};
struct Bits {
  BitsPart part[PARTS];
};

OCTAVO_INLINE Vec zero() { return Vec{}; }

OCTAVO_INLINE Vec load(const float *p) {
  Vec r;
  OCTAVO_EACH_PART memcpy(&r.part[i], p + i * PART_LANES, sizeof r.part[i]);
  return r;
}

OCTAVO_INLINE void store(float *p, const Vec &a) {
  OCTAVO_EACH_PART memcpy(p + i * PART_LANES, &a.part[i], sizeof a.part[i]);
}

OCTAVO_INLINE Bits load_bits(const uint8_t *p) {
  Bits r;
  OCTAVO_EACH_PART memcpy(&r.part[i], p + i * sizeof r.part[i], sizeof r.part[i]);
  return r;
}

OCTAVO_INLINE void store_bits(uint8_t *p, const Bits &a) {
  OCTAVO_EACH_PART memcpy(p + i * sizeof a.part[i], &a.part[i], sizeof a.part[i]);
}

OCTAVO_INLINE Vec broadcast(float x) {
  Vec r;
  OCTAVO_EACH_PART r.part[i] = x - FloatPart{};
  return r;
}

OCTAVO_INLINE Bits broadcast_bits(uint32_t x) {
  Bits r;
  OCTAVO_EACH_PART r.part[i] = x - BitsPart{};
  return r;
}

OCTAVO_INLINE Vec add(const Vec &a, const Vec &b) {
  Vec r;
  OCTAVO_EACH_PART r.part[i] = a.part[i] + b.part[i];
  return r;
}

OCTAVO_INLINE Vec multiply(const Vec &a, const Vec &b) {
  Vec r;
  OCTAVO_EACH_PART r.part[i] = a.part[i] * b.part[i];
  return r;
}

// a * b + c, rounded once.
OCTAVO_INLINE Vec fma(const Vec &a, const Vec &b, const Vec &c) {
  Vec r;
  OCTAVO_EACH_PART r.part[i] = fma_part(a.part[i], b.part[i], c.part[i]);
  return r;
}

// a * b + c where the product is exact, so that one rounding or two are the same.
OCTAVO_INLINE Vec multiply_add(const Vec &a, const Vec &b, const Vec &c) {
#if defined(__FMA__)
  return fma(a, b, c);
#else
  return add(multiply(a, b), c);
#endif
}

OCTAVO_INLINE Bits add(const Bits &a, uint32_t b) {
  Bits r;
  OCTAVO_EACH_PART r.part[i] = a.part[i] + b;
  return r;
}

OCTAVO_INLINE Bits bit_and(const Bits &a, uint32_t mask) {
  Bits r;
  OCTAVO_EACH_PART r.part[i] = a.part[i] & mask;
  return r;
}

OCTAVO_INLINE Bits bit_or(const Bits &a, const Bits &b) {
  Bits r;
  OCTAVO_EACH_PART r.part[i] = a.part[i] | b.part[i];
  return r;
}

OCTAVO_INLINE Bits shift_left(const Bits &a, int count) {
  Bits r;
  OCTAVO_EACH_PART r.part[i] = a.part[i] << count;
  return r;
}

OCTAVO_INLINE Bits shift_right(const Bits &a, int count) {
  Bits r;
  OCTAVO_EACH_PART r.part[i] = a.part[i] >> count;
  return r;
}

OCTAVO_INLINE Bits as_bits(const Vec &a) {
  Bits r;
  OCTAVO_EACH_PART r.part[i] = (BitsPart)a.part[i];
  return r;
}

OCTAVO_INLINE Vec as_float(const Bits &a) {
  Vec r;
  OCTAVO_EACH_PART r.part[i] = (FloatPart)a.part[i];
  return r;
}

// Values that many instructions read: the compiler would load them again for each.
template <int COUNT> OCTAVO_INLINE void keep_in_registers(Vec (&values)[COUNT]) {
#if defined(__AVX2__)
#pragma GCC unroll 2
  for (Vec &value : values)
    OCTAVO_EACH_PART asm("" : "+v"(value.part[i]));
#else
  (void)values;
#endif
}

// The bits of a where mask has ones, those of b elsewhere.
OCTAVO_INLINE Bits select(uint32_t mask, const Bits &a, const Bits &b) {
  Bits r;
#if defined(__AVX512F__)
  const __m512i ones = _mm512_set1_epi32((int)mask);
  r.part[0] = (BitsPart)_mm512_ternarylogic_epi32(ones, (__m512i)a.part[0], (__m512i)b.part[0], 0xca);
#else
  OCTAVO_EACH_PART r.part[i] = (a.part[i] & mask) | (b.part[i] & ~mask);
#endif
  return r;
}

// The low BITS (4 to 6) bits of every lane less BIAS, as fp32.
template <int BITS, int BIAS> OCTAVO_INLINE Vec low_digits(const Bits &a) {
  Vec r;
#if defined(__AVX512F__)
  // A permutation reads four bits of each index, or five of two tables: look-up and mask in one instruction.
  // Six bits become the end of 2^23's significand.
  const __m512 digits =
      _mm512_setr_ps(0 - BIAS, 1 - BIAS, 2 - BIAS, 3 - BIAS, 4 - BIAS, 5 - BIAS, 6 - BIAS, 7 - BIAS, 8 - BIAS,
                     9 - BIAS, 10 - BIAS, 11 - BIAS, 12 - BIAS, 13 - BIAS, 14 - BIAS, 15 - BIAS);
  const __m512i index = (__m512i)a.part[0];
  if constexpr (BITS == 4)
    r.part[0] = (FloatPart)_mm512_maskz_permutexvar_ps(0xffff, index, digits);
  else if constexpr (BITS == 5)
    r.part[0] = (FloatPart)_mm512_permutex2var_ps(digits, index, _mm512_add_ps(digits, _mm512_set1_ps(16)));
  else
    r.part[0] = as_float(select((1u << BITS) - 1, a, broadcast_bits(0x4b000000u))).part[0] - (0x1p23f + BIAS);
#else
  OCTAVO_EACH_PART r.part[i] =
      __builtin_convertvector((IntPart)(a.part[i] & ((1u << BITS) - 1)) - BIAS, FloatPart);
#endif
  return r;
}

OCTAVO_INLINE Vec load_signed_bytes(const uint8_t *p) {
  Vec r;
#if defined(__AVX512F__)
  const __m128i bytes = _mm_loadu_si128((const __m128i *)p);
  r.part[0] = __builtin_convertvector((IntPart)_mm512_maskz_cvtepi8_epi32(0xffff, bytes), FloatPart);
#elif defined(__AVX2__)
  OCTAVO_EACH_PART {
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(p + i * PART_LANES));
    r.part[i] = __builtin_convertvector((IntPart)_mm256_cvtepi8_epi32(bytes), FloatPart);
  }
#else
  float lane[PANEL];
  for (int i = 0; i < PANEL; i++)
    lane[i] = (float)(int8_t)p[i];
  r = load(lane);
#endif
  return r;
}

OCTAVO_INLINE Vec load_bytes(const uint8_t *p) {
  Vec r;
#if defined(__AVX512F__)
  const __m128i bytes = _mm_loadu_si128((const __m128i *)p);
  r.part[0] = __builtin_convertvector((IntPart)_mm512_maskz_cvtepu8_epi32(0xffff, bytes), FloatPart);
#elif defined(__AVX2__)
  OCTAVO_EACH_PART {
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(p + i * PART_LANES));
    r.part[i] = __builtin_convertvector((IntPart)_mm256_cvtepu8_epi32(bytes), FloatPart);
  }
#else
  float lane[PANEL];
  for (int i = 0; i < PANEL; i++)
    lane[i] = (float)p[i];
  r = load(lane);
#endif
  return r;
}

// Four rows of 16 bytes, `stride` bytes apart: of every column a lane, the first row's byte lowest.
OCTAVO_INLINE Bits interleave_rows(const uint8_t *p, int64_t stride) {
  Bits r;
#if defined(__AVX512F__)
  __m512i rows = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
  rows = _mm512_inserti32x4(rows, _mm_loadu_si128((const __m128i *)(p + stride)), 1);
  rows = _mm512_inserti32x4(rows, _mm_loadu_si128((const __m128i *)(p + 2 * stride)), 2);
  rows = _mm512_inserti32x4(rows, _mm_loadu_si128((const __m128i *)(p + 3 * stride)), 3);
  const __m512i four_columns = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i by_column = _mm512_set4_epi32(0x0f0b0703, 0x0e0a0602, 0x0d090501, 0x0c080400);
  rows = _mm512_maskz_permutexvar_epi32(0xffff, four_columns, rows);
  r.part[0] = (BitsPart)_mm512_shuffle_epi8(rows, by_column);
#elif defined(__SSE2__)
  const auto row = [&](int i) { return _mm_loadu_si128((const __m128i *)(p + i * stride)); };
  const __m128i low = _mm_unpacklo_epi8(row(0), row(1)), low2 = _mm_unpacklo_epi8(row(2), row(3));
  const __m128i high = _mm_unpackhi_epi8(row(0), row(1)), high2 = _mm_unpackhi_epi8(row(2), row(3));
  const __m128i fours[] = {_mm_unpacklo_epi16(low, low2), _mm_unpackhi_epi16(low, low2),
                           _mm_unpacklo_epi16(high, high2), _mm_unpackhi_epi16(high, high2)};
#if defined(__AVX2__)
  r.part[0] = (BitsPart)_mm256_set_m128i(fours[1], fours[0]);
  r.part[1] = (BitsPart)_mm256_set_m128i(fours[3], fours[2]);
#else
  OCTAVO_EACH_PART r.part[i] = (BitsPart)fours[i];
#endif
#else
  uint8_t quads[PANEL][4];
  for (int column = 0; column < PANEL; column++)
    for (int i = 0; i < 4; i++)
      quads[column][i] = p[i * stride + column];
  memcpy(&r, quads, sizeof r);
#endif
  return r;
}

OCTAVO_INLINE Bits load_halves(const uint8_t *p) {
  Bits r;
  OCTAVO_EACH_PART {
    HalvesPart halves;
    memcpy(&halves, p + i * sizeof halves, sizeof halves);
    r.part[i] = __builtin_convertvector(halves, BitsPart);
  }
  return r;
}

OCTAVO_INLINE Vec load_bf16(const bf16 *p) {
  return as_float(shift_left(load_halves((const uint8_t *)p), 16));
}

// Exact, subnormal numbers included: where there is no instruction, 2^-14 is put in front of their fraction
// and subtracted again. DAZ does not apply to half-precision operands.
OCTAVO_INLINE Vec load_f16(const uint8_t *p) {
  Vec r;
#if defined(__AVX512F__)
  r.part[0] = (FloatPart)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256((const __m256i *)p));
#elif defined(__AVX2__)
  OCTAVO_EACH_PART r.part[i] = (FloatPart)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + i));
#else
  const uint32_t exponent = 0x7c00u << 13, rebias = 112u << 23;
  Bits half = load_halves(p);
  OCTAVO_EACH_PART {
    BitsPart magnitude = (half.part[i] & 0x7fffu) << 13;
    BitsPart normal = magnitude + rebias;
    BitsPart tiny = (BitsPart)((FloatPart)(normal + (1u << 23)) - 0x1p-14f);
    BitsPart is_infinite = (BitsPart)((magnitude & exponent) == exponent);
    BitsPart is_tiny = (BitsPart)((magnitude & exponent) == 0);
    BitsPart bits =
        (is_infinite & (normal + rebias)) | (is_tiny & tiny) | (~(is_infinite | is_tiny) & normal);
    r.part[i] = (FloatPart)(bits | (half.part[i] & 0x8000u) << 16);
  }
#endif
  return r;
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
