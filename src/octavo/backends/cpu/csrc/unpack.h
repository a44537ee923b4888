// How one group of a weight panel (32 k x 16 columns) becomes bf16: the only code that knows how a format
// lies in memory.
//
// A source hands out the 16 pairs of k of its group, each as two vectors over columns. Weights of every
// quantized format are d * q + m in fp32, rounded to bf16 by "add half, mask".
#pragma once
#include "simd.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int PAIRS = CHUNK / 2;
constexpr uint32_t BF16_MASK = 0xffff0000u;
constexpr uint32_t BF16_HALF = 0x00008000u;
constexpr int TILE_BYTES = CHUNK * PANEL * sizeof(bf16); // a group as pairs of bf16: an AMX tile
constexpr int STAGED_FLOATS = CHUNK * PANEL;             // a group as fp32

// Still with the bits that the mask drops: whoever takes the high half needs no mask.
struct RoundedPair {
  Bits even, odd;
};

template <WeightFormat> struct Group;

template <> struct Group<WeightFormat::BF16> {
  enum { BYTES = TILE_BYTES };
  const uint8_t *data;

  static OCTAVO_INLINE_MEMBER Group open(const uint8_t *data) { return {data}; }

  OCTAVO_INLINE_MEMBER RoundedPair rounded(int pair) const {
    Bits words = load_bits(data + 64 * pair);
    return {shift_left(words, 16), words};
  }
};

template <> struct Group<WeightFormat::Q8_0> {
  enum { BYTES = CHUNK * PANEL + 2 * PANEL };
  const uint8_t *data;
  Vec scale;

  static OCTAVO_INLINE_MEMBER Group open(const uint8_t *data) {
    return {data, load_f16(data + CHUNK * PANEL)};
  }

  OCTAVO_INLINE_MEMBER Bits rounded_row(int k) const {
    return add(as_bits(multiply(load_signed_bytes(data + PANEL * k), scale)), BF16_HALF);
  }

  OCTAVO_INLINE_MEMBER RoundedPair rounded(int pair) const {
    return {rounded_row(2 * pair), rounded_row(2 * pair + 1)};
  }
};

template <> struct Group<WeightFormat::Q4_1> {
  enum { NIBBLE_BYTES = CHUNK * PANEL / 2, BYTES = NIBBLE_BYTES + 4 * PANEL };
  const uint8_t *data;
  Vec scale, minimum;

  static OCTAVO_INLINE_MEMBER Group open(const uint8_t *data) {
    return {data, load_f16(data + NIBBLE_BYTES), load_f16(data + NIBBLE_BYTES + 2 * PANEL)};
  }

  OCTAVO_INLINE_MEMBER Bits rounded_nibbles(const Bits &words) const {
    return add(as_bits(multiply_add(low_nibbles(words), scale, minimum)), BF16_HALF); // 4 by 11 bits: exact
  }

  OCTAVO_INLINE_MEMBER RoundedPair rounded(int pair) const {
    Bits words = load_bits(data + 64 * (pair / 4));
    return {rounded_nibbles(shift_right(words, 8 * (pair % 4))),
            rounded_nibbles(shift_right(words, 8 * (pair % 4) + 4))};
  }
};

// A group straight from memory, unpacked in registers.
template <WeightFormat F> struct Packed {
  Group<F> group;

  OCTAVO_INLINE_MEMBER void pair(int pair, Vec &even, Vec &odd) const {
    RoundedPair rounded = group.rounded(pair);
    even = as_float(bit_and(rounded.even, BF16_MASK));
    odd = as_float(bit_and(rounded.odd, BF16_MASK));
  }
};

// A group that stage() has unpacked before: [32 k][16 columns] fp32.
struct Staged {
  const float *data;

  OCTAVO_INLINE_MEMBER void pair(int pair, Vec &even, Vec &odd) const {
    even = load(data + 2 * PANEL * pair);
    odd = load(data + 2 * PANEL * pair + PANEL);
  }
};

template <WeightFormat F> OCTAVO_INLINE void stage(const uint8_t *group, float *out) {
  const Packed<F> packed{Group<F>::open(group)};
#pragma GCC unroll 16
  for (int j = 0; j < PAIRS; j++) {
    Vec even, odd;
    packed.pair(j, even, odd);
    store(out + 2 * PANEL * j, even);
    store(out + 2 * PANEL * j + PANEL, odd);
  }
}

// The same as pairs of bf16, what an AMX tile holds.
template <WeightFormat F> OCTAVO_INLINE void stage_tile(const uint8_t *group, uint8_t *out) {
  const Group<F> packed = Group<F>::open(group);
#pragma GCC unroll 16
  for (int j = 0; j < PAIRS; j++) {
    RoundedPair rounded = packed.rounded(j);
    store_bits(out + 64 * j, bit_or(bit_and(rounded.odd, BF16_MASK), shift_right(rounded.even, 16)));
  }
}

// A prefetch beyond the end of the weights is harmless: it never faults.
template <WeightFormat F> OCTAVO_INLINE void prefetch(const uint8_t *group) {
#pragma GCC unroll 16
  for (int offset = 0; offset < (int)Group<F>::BYTES; offset += 64)
    __builtin_prefetch(group + offset);
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
