// Sums of products of bytes, four to a lane of 32 bits: digits of weights times digits of activations. Exact,
// whichever instructions compute them.
//
// Each way has a Quad<SIGNED>, four weights of every lane made ready for many rows, a Factor<IS_SHARED>, four
// digits of one row for a panel or several, and a Sum<LARGEST, SIGNED>, of weights up to LARGEST in
// magnitude. It may take ZERO_OF_SIGNED more than the number for signed weights. MAX_SUMS: what has room in
// registers.
#pragma once
#include "simd.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

OCTAVO_INLINE int32_t load_quad(const int8_t *digits) {
  int32_t quad;
  memcpy(&quad, digits, sizeof quad);
  return quad;
}

OCTAVO_INLINE Vec to_float(const Bits &integers) {
  Vec r;
  OCTAVO_EACH_PART r.part[i] = __builtin_convertvector((IntPart)integers.part[i], FloatPart);
  return r;
}

#if defined(__AVX2__)

// One instruction, written out: the build is for processors that lack it, too.
struct DotVnni {
  enum { ZERO_OF_SIGNED = 128, MAX_SUMS = PARTS == 1 ? 16 : 6 };

  template <bool IS_SHARED> struct Factor {
    BitsPart digits;
    OCTAVO_INLINE_MEMBER explicit Factor(const int8_t *x) : digits((uint32_t)load_quad(x) - BitsPart{}) {}
    OCTAVO_INLINE_MEMBER void multiply(BitsPart weights, BitsPart &total) const {
#if defined(__AVX512F__)
      asm("vpdpbusd %2, %1, %0" : "+v"(total) : "v"(weights), "v"(digits));
#else
      asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(total) : "x"(weights), "x"(digits));
#endif
    }
  };

  template <bool SIGNED> struct Quad {
    Bits weights;
    OCTAVO_INLINE_MEMBER explicit Quad(const Bits &bytes) : weights(bytes) {
      if (SIGNED)
        OCTAVO_EACH_PART weights.part[i] ^= 0x80808080u;
    }
  };

  template <int LARGEST, bool SIGNED> struct Sum {
    Bits total;
    OCTAVO_INLINE_MEMBER void begin(int32_t start) { total = broadcast_bits((uint32_t)start); }
    template <class Factor> OCTAVO_INLINE_MEMBER void add(const Quad<SIGNED> &quad, const Factor &x, int) {
      OCTAVO_EACH_PART x.multiply(quad.weights.part[i], total.part[i]);
    }
    OCTAVO_INLINE_MEMBER Bits value() const { return total; }
  };
};

#if defined(__AVX512F__)
// The instruction reads the digits itself.
template <> struct DotVnni::Factor<false> {
  const int8_t *digits;
  OCTAVO_INLINE_MEMBER explicit Factor(const int8_t *x) : digits(x) {}
  OCTAVO_INLINE_MEMBER void multiply(BitsPart weights, BitsPart &total) const {
    asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(total) : "v"(weights), "m"(*(const int8_t (*)[4])digits));
  }
};
#endif

// Products are summed in 16 bits, as many pairs as fit, before they are widened.
struct DotPairs {
  enum { ZERO_OF_SIGNED = 0, MAX_SUMS = PARTS == 1 ? 12 : 3 };
  static constexpr int LARGEST_ACTIVATION = 127;

#if defined(__AVX512BW__)
  using Register = __m512i;
  using Signs = __mmask64;
  static OCTAVO_INLINE_MEMBER Register broadcast(int32_t x) { return _mm512_set1_epi32(x); }
  static OCTAVO_INLINE_MEMBER Register magnitude(Register a) { return _mm512_abs_epi8(a); }
  static OCTAVO_INLINE_MEMBER Signs signs_of(Register a) { return _mm512_movepi8_mask(a); }
  static OCTAVO_INLINE_MEMBER Register with_signs(Register x, Signs signs) {
    return _mm512_mask_sub_epi8(x, signs, _mm512_setzero_si512(), x);
  }
  static OCTAVO_INLINE_MEMBER Register multiply(Register a, Register b) { return _mm512_maddubs_epi16(a, b); }
  static OCTAVO_INLINE_MEMBER Register add_shorts(Register a, Register b) { return _mm512_add_epi16(a, b); }
  static OCTAVO_INLINE_MEMBER Register widen(Register a) {
    return _mm512_madd_epi16(a, _mm512_set1_epi16(1));
  }
#else
  using Register = __m256i;
  using Signs = __m256i;
  static OCTAVO_INLINE_MEMBER Register broadcast(int32_t x) { return _mm256_set1_epi32(x); }
  static OCTAVO_INLINE_MEMBER Register magnitude(Register a) { return _mm256_abs_epi8(a); }
  static OCTAVO_INLINE_MEMBER Signs signs_of(Register a) { return a; }
  static OCTAVO_INLINE_MEMBER Register with_signs(Register x, Signs signs) {
    return _mm256_sign_epi8(x, signs);
  }
  static OCTAVO_INLINE_MEMBER Register multiply(Register a, Register b) { return _mm256_maddubs_epi16(a, b); }
  static OCTAVO_INLINE_MEMBER Register add_shorts(Register a, Register b) { return _mm256_add_epi16(a, b); }
  static OCTAVO_INLINE_MEMBER Register widen(Register a) {
    return _mm256_madd_epi16(a, _mm256_set1_epi16(1));
  }
#endif

  template <bool> struct Factor {
    Register digits;
    OCTAVO_INLINE_MEMBER explicit Factor(const int8_t *x) : digits(broadcast(load_quad(x))) {}
  };

  template <bool SIGNED> struct Quad {
    Register weights[PARTS];
    Signs signs[PARTS]; // only of signed weights

    OCTAVO_INLINE_MEMBER explicit Quad(const Bits &bytes) {
      OCTAVO_EACH_PART {
        const Register part = (Register)bytes.part[i];
        weights[i] = SIGNED ? magnitude(part) : part;
        signs[i] = signs_of(part);
      }
    }
  };

  template <int LARGEST, bool SIGNED> struct Sum {
    // So many quads are summed in 16 bits: a power of two, as those are that come in all.
    enum {
      MOST = INT16_MAX / (2 * LARGEST * LARGEST_ACTIVATION),
      AT_ONCE = MOST >= 4 ? 4
      : MOST >= 2         ? 2
                          : 1
    };
    static_assert(MOST > 0, "a pair of products would overflow");
    Bits total;
    Register shorts[PARTS];

    OCTAVO_INLINE_MEMBER void begin(int32_t start) {
      total = broadcast_bits((uint32_t)start);
      OCTAVO_EACH_PART shorts[i] = Register{};
    }
    // index: how many quads came before.
    template <class Factor>
    OCTAVO_INLINE_MEMBER void add(const Quad<SIGNED> &quad, const Factor &x, int index) {
      OCTAVO_EACH_PART {
        const Register factor = SIGNED ? with_signs(x.digits, quad.signs[i]) : x.digits;
        const Register products = multiply(quad.weights[i], factor);
        shorts[i] = index % AT_ONCE == 0 ? products : add_shorts(shorts[i], products);
        if (index % AT_ONCE == AT_ONCE - 1)
          total.part[i] += (BitsPart)widen(shorts[i]);
      }
    }
    OCTAVO_INLINE_MEMBER Bits value() const { return total; }
  };
};

#else

// Words of 16 bits.
struct DotWords {
  enum { ZERO_OF_SIGNED = 0, MAX_SUMS = 2 };
  typedef int16_t Shorts __attribute__((vector_size(4 * PART_LANES)));

  template <bool> struct Factor {
    Shorts even, odd;
    OCTAVO_INLINE_MEMBER explicit Factor(const int8_t *x) {
      const Shorts words = (Shorts)((uint32_t)load_quad(x) - BitsPart{});
      even = (words << 8) >> 8;
      odd = words >> 8;
    }
  };

  template <bool SIGNED> struct Quad {
    Shorts even[PARTS], odd[PARTS];
    OCTAVO_INLINE_MEMBER explicit Quad(const Bits &bytes) {
      OCTAVO_EACH_PART {
        even[i] = ((Shorts)bytes.part[i] << 8) >> 8;
        odd[i] = (Shorts)bytes.part[i] >> 8;
      }
    }
  };

  template <int LARGEST, bool SIGNED> struct Sum {
    static_assert(SIGNED || LARGEST < 128, "the highest bit would be a sign");
    Bits total;
    OCTAVO_INLINE_MEMBER void begin(int32_t start) { total = broadcast_bits((uint32_t)start); }
    template <class Factor> OCTAVO_INLINE_MEMBER void add(const Quad<SIGNED> &quad, const Factor &x, int) {
      OCTAVO_EACH_PART total.part[i] += pairs(quad.even[i], x.even) + pairs(quad.odd[i], x.odd);
    }
    OCTAVO_INLINE_MEMBER Bits value() const { return total; }
  };

  static OCTAVO_INLINE_MEMBER BitsPart pairs(Shorts a, Shorts b) {
#if defined(__SSE2__)
    return (BitsPart)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    const IntPart x = (IntPart)a, y = (IntPart)b;
    return (BitsPart)(((x << 16) >> 16) * ((y << 16) >> 16) + (x >> 16) * (y >> 16));
#endif
  }
};

#endif

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
