// One column of one span of groups, from the way a file stores it into its lane of a packed panel.
//
// A Packer has SOURCE_BYTES and PACKED_BYTES of a span of GROUPS groups of 32 k, and pack(), which writes
// lane `lane` of the span and says whether every number it copied is finite.
#pragma once
#include <cstring>

#include "kernels.h"

namespace octavo {
namespace {

// ---- dense: rounded to bf16 once, here ----

// fp32 bits to bf16 by "add half, mask"; NaN stays NaN.
inline bf16 round_to_bf16(uint32_t bits) {
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return (bf16)((is_nan ? bits | 0x00400000u : bits + 0x8000u) >> 16);
}

inline uint32_t half_to_float_bits(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = (uint32_t)(half & 0x7fffu) << 13;
  const uint32_t rebias = 112u << 23, tiny_bits = magnitude + (113u << 23);
  float tiny;
  memcpy(&tiny, &tiny_bits, sizeof tiny);
  tiny -= 0x1p-14f; // exact: 2^-14 stood in front of the fraction of a subnormal number
  uint32_t subnormal;
  memcpy(&subnormal, &tiny, sizeof subnormal);
  const uint32_t normal = magnitude + (magnitude >= 0x7c00u << 13 ? 2 * rebias : rebias);
  return sign | (magnitude < 0x0400u << 13 ? subnormal : normal);
}

struct FromBF16 {
  enum { ELEMENT_BYTES = 2 };
  static bf16 convert(const uint8_t *p) {
    bf16 value;
    memcpy(&value, p, sizeof value);
    return value;
  }
};

struct FromF16 {
  enum { ELEMENT_BYTES = 2 };
  static bf16 convert(const uint8_t *p) { return round_to_bf16(half_to_float_bits(FromBF16::convert(p))); }
};

struct FromF32 {
  enum { ELEMENT_BYTES = 4 };
  static bf16 convert(const uint8_t *p) {
    uint32_t bits;
    memcpy(&bits, p, sizeof bits);
    return round_to_bf16(bits);
  }
};

// count: of the group's k, those within the depth.
template <class From> struct DensePacker {
  enum { GROUPS = 1, SOURCE_BYTES = CHUNK * From::ELEMENT_BYTES, PACKED_BYTES = CHUNK * PANEL * 2 };

  static bool pack(const uint8_t *source, int count, uint8_t *group, int lane) {
    bf16 row[CHUNK] = {};
    if (count == CHUNK)
      for (int k = 0; k < CHUNK; k++)
        row[k] = From::convert(source + k * From::ELEMENT_BYTES);
    else
      for (int k = 0; k < count; k++)
        row[k] = From::convert(source + k * From::ELEMENT_BYTES);
    bool is_finite = true;
    for (int k = 0; k < CHUNK; k++)
      is_finite &= (row[k] & 0x7f80) != 0x7f80;
    for (int pair = 0; pair < CHUNK / 2; pair++)
      memcpy(group + (pair * PANEL + lane) * 4, row + 2 * pair, 4);
    return is_finite;
  }
};

// ---- quantized: bits are moved, never changed ----

inline bool put_half(uint8_t *target, const uint8_t *source, uint16_t flipped = 0) {
  uint16_t half;
  memcpy(&half, source, sizeof half);
  half ^= flipped;
  memcpy(target, &half, sizeof half);
  return (half & 0x7c00) != 0x7c00;
}

// Byte i of the result is byte 2 * i.
inline uint32_t gather_even_bytes(uint64_t bytes) {
  uint64_t x = bytes & 0x00ff00ff00ff00ffull;
  x = (x | x >> 8) & 0x0000ffff0000ffffull;
  return (uint32_t)(x | x >> 16);
}

// Nibble i of the result is the low nibble of byte i.
inline uint32_t gather_low_nibbles(uint64_t bytes) {
  uint64_t x = bytes & 0x0f0f0f0f0f0f0f0full;
  return gather_even_bytes(x | x >> 4);
}

// The digits of 32 k, a byte each, to their lane: kernels.h says where. HIGH: bits above four.
template <int HIGH> void put_digits(const uint8_t (&digits)[CHUNK], uint8_t *group, int lane) {
  uint32_t high[HIGH + 1] = {};
  for (int word = 0; word < 4; word++) {
    uint64_t eight;
    memcpy(&eight, digits + 8 * word, 8);
    const uint32_t nibbles = gather_low_nibbles(eight);
    memcpy(group + (word * PANEL + lane) * 4, &nibbles, 4);
    if (HIGH == 0)
      continue;
    const uint64_t above = eight >> 4 & 0x0f0f0f0f0f0f0f0full;
    for (int parity = 0; parity < 2; parity++) {
      const int bit = HIGH * (2 * word + parity);
      high[bit / 8] |= gather_even_bytes(above >> 8 * parity) << bit % 8;
    }
  }
  for (int word = 0; word < HIGH; word++)
    memcpy(group + ((4 + word) * PANEL + lane) * 4, high + word, 4);
}

template <int HIGH> constexpr int digits_bytes() { return (4 + HIGH) * CHUNK * PANEL / 8; }

// f16 d, then 32 signed bytes.
struct Q8Packer {
  enum { GROUPS = 1, SOURCE_BYTES = 2 + CHUNK, PACKED_BYTES = (CHUNK + 2) * PANEL };

  static bool pack(const uint8_t *source, int, uint8_t *group, int lane) {
    for (int k = 0; k < CHUNK; k++)
      group[k * PANEL + lane] = source[2 + k];
    return put_half(group + CHUNK * PANEL + 2 * lane, source);
  }
};

// HALVES f16 (d, and perhaps m); for five bits 32 bits, bit k for k; then 16 bytes whose low nibbles are k 0
// to 15 and whose high nibbles are k 16 to 31.
template <int HIGH, int HALVES> struct LegacyPacker {
  enum {
    GROUPS = 1,
    DIGITS_AT = 2 * HALVES + 4 * HIGH,
    SOURCE_BYTES = DIGITS_AT + CHUNK / 2,
    PACKED_BYTES = digits_bytes<HIGH>() + HALVES * 2 * PANEL
  };

  static bool pack(const uint8_t *source, int, uint8_t *group, int lane) {
    uint8_t digits[CHUNK];
    for (int k = 0; k < CHUNK / 2; k++) {
      digits[k] = source[DIGITS_AT + k] & 15;
      digits[k + CHUNK / 2] = source[DIGITS_AT + k] >> 4;
    }
    if (HIGH) {
      uint32_t bits;
      memcpy(&bits, source + 2 * HALVES, 4);
      for (int k = 0; k < CHUNK; k++)
        digits[k] |= (bits >> k & 1) << 4;
    }
    put_digits<HIGH>(digits, group, lane);
    bool is_finite = true;
    for (int half = 0; half < HALVES; half++)
      is_finite &= put_half(group + digits_bytes<HIGH>() + (half * PANEL + lane) * 2, source + 2 * half);
    return is_finite;
  }
};

// Q4_K and Q5_K: f16 d, f16 m (of what is subtracted), 12 bytes of eight s and eight t of 6 bits, for five
// bits 32 bytes (bit g for group g), then 128 bytes: 32 for two groups, low and high nibbles.
template <int HIGH> struct SharedPacker {
  enum {
    GROUPS = 8,
    SCALES_AT = 4,
    HIGH_AT = SCALES_AT + 12,
    DIGITS_AT = HIGH_AT + 32 * HIGH,
    SOURCE_BYTES = DIGITS_AT + GROUPS * CHUNK / 2,
    HEADER_BYTES = 4 * PANEL,
    GROUP_BYTES = digits_bytes<HIGH>() + 2 * PANEL,
    PACKED_BYTES = HEADER_BYTES + GROUPS * GROUP_BYTES
  };

  static bool pack(const uint8_t *source, int, uint8_t *span, int lane) {
    const uint8_t *six = source + SCALES_AT;
    for (int g = 0; g < GROUPS; g++) {
      uint8_t digits[CHUNK], *group = span + HEADER_BYTES + g * GROUP_BYTES;
      for (int k = 0; k < CHUNK; k++) {
        digits[k] = source[DIGITS_AT + g / 2 * CHUNK + k] >> 4 * (g % 2) & 15;
        if (HIGH)
          digits[k] |= (source[HIGH_AT + k] >> g & 1) << 4;
      }
      put_digits<HIGH>(digits, group, lane);
      // s and t of groups 0 to 3 are the low six bits of bytes 0-3 and 4-7; of groups 4 to 7 the low and high
      // nibbles of bytes 8-11, under the top two bits of those.
      const int i = g % 4;
      uint8_t *scales = group + digits_bytes<HIGH>() + lane;
      scales[0] = g < 4 ? six[i] & 63 : (six[8 + i] & 15) | (six[i] >> 2 & 48);
      scales[PANEL] = g < 4 ? six[4 + i] & 63 : six[8 + i] >> 4 | (six[4 + i] >> 2 & 48);
    }
    const bool is_finite = put_half(span + 2 * lane, source);
    return put_half(span + 2 * (PANEL + lane), source + 2, 0x8000) && is_finite;
  }
};

// Two halves of four groups, each 64 bytes of nibbles; 32 bytes of pairs of bits for each half; a signed byte
// for every 16 k; f16 d.
struct Q6Packer {
  enum {
    GROUPS = 8,
    HIGH_AT = GROUPS * CHUNK / 2,
    SCALES_AT = HIGH_AT + GROUPS * CHUNK / 4,
    D_AT = SCALES_AT + 2 * GROUPS,
    SOURCE_BYTES = D_AT + 2,
    HEADER_BYTES = 2 * PANEL,
    GROUP_BYTES = digits_bytes<2>() + 2 * PANEL,
    PACKED_BYTES = HEADER_BYTES + GROUPS * GROUP_BYTES
  };

  static bool pack(const uint8_t *source, int, uint8_t *span, int lane) {
    for (int g = 0; g < GROUPS; g++) {
      const int half = g / 4, quarter = g % 4;
      const uint8_t *low = source + 64 * half + CHUNK * (quarter % 2);
      const uint8_t *high = source + HIGH_AT + CHUNK * half;
      uint8_t digits[CHUNK], *group = span + HEADER_BYTES + g * GROUP_BYTES;
      for (int k = 0; k < CHUNK; k++)
        digits[k] = (low[k] >> 4 * (quarter / 2) & 15) | (high[k] >> 2 * quarter & 3) << 4;
      put_digits<2>(digits, group, lane);
      group[digits_bytes<2>() + lane] = source[SCALES_AT + 2 * g];
      group[digits_bytes<2>() + PANEL + lane] = source[SCALES_AT + 2 * g + 1];
    }
    return put_half(span + 2 * lane, source + D_AT);
  }
};

} // namespace
} // namespace octavo
