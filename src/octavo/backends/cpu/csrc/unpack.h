// How one group of a weight panel (32 k x 16 columns) becomes bf16, or integers: the only code that knows how
// a format lies in memory.
//
// A source hands out the 16 pairs of k of its group, each as two vectors over columns. Weights of every
// quantized format are d * q or d * q + m in fp32, rounded to bf16 by "add half, mask". The product is exact
// in all of them (23 bits at most), so one rounding of d * q + m or two are the same.
#pragma once
#include "simd.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int PAIRS = CHUNK / 2;
constexpr uint32_t BF16_MASK = 0xffff0000u;
constexpr uint32_t BF16_HALF = 0x00008000u;
constexpr int TILE_BYTES = CHUNK * PANEL * sizeof(bf16); // a group as pairs of bf16: an AMX tile
constexpr int STAGED_FLOATS = CHUNK * PANEL;             // a group as fp32

// Quad j of a group, for integer kernels: of every column the integers of k = 8 * (j / 2) + j % 2 + (0, 2, 4,
// 6), a byte each, as they are stored.

// Still with the bits that the mask drops: whoever takes the high half needs no mask.
struct RoundedPair {
  Bits even, odd;
};

OCTAVO_INLINE Bits add_half(const Vec &weights) { return add(as_bits(weights), BF16_HALF); }

// One group, opened at its place in a panel. BYTES of its own; SPAN groups share the HEADER_BYTES before
// them.
template <WeightFormat> struct Group;

template <WeightFormat F> OCTAVO_INLINE const uint8_t *span_data(const uint8_t *panel, int span) {
  return panel + (int64_t)span * (Group<F>::HEADER_BYTES + Group<F>::SPAN * Group<F>::BYTES);
}

template <WeightFormat F> OCTAVO_INLINE const uint8_t *group_data(const uint8_t *panel, int g) {
  return span_data<F>(panel, g / Group<F>::SPAN) + Group<F>::HEADER_BYTES +
         g % Group<F>::SPAN * Group<F>::BYTES;
}

struct Alone {
  enum { SPAN = 1, HEADER_BYTES = 0 };
};

template <> struct Group<WeightFormat::BF16> : Alone {
  enum { BYTES = TILE_BYTES };
  const uint8_t *data;

  OCTAVO_INLINE_MEMBER Group(const uint8_t *panel, int g) : data(group_data<WeightFormat::BF16>(panel, g)) {}

  OCTAVO_INLINE_MEMBER RoundedPair rounded(int pair) const {
    Bits words = load_bits(data + 64 * pair);
    return {shift_left(words, 16), words};
  }
};

template <> struct Group<WeightFormat::Q8_0> : Alone {
  enum { BYTES = CHUNK * PANEL + 2 * PANEL };
  const uint8_t *data;
  Vec scale;

  OCTAVO_INLINE_MEMBER Group(const uint8_t *panel, int g)
      : data(group_data<WeightFormat::Q8_0>(panel, g)), scale(load_f16(data + CHUNK * PANEL)) {}

  OCTAVO_INLINE_MEMBER Bits row(int k) const {
    return add_half(multiply(load_signed_bytes(data + PANEL * k), scale));
  }

  OCTAVO_INLINE_MEMBER Bits quad(int j) const {
    return interleave_rows(data + PANEL * (8 * (j / 2) + j % 2), 2 * PANEL);
  }

  OCTAVO_INLINE_MEMBER RoundedPair rounded(int pair) const { return {row(2 * pair), row(2 * pair + 1)}; }
};

// The digits of a group, of 4 + HIGH bits: nibbles, eight k to a word, then words of the bits above them, as
// kernels.h describes: every second nibble of a word, with its upper bits put above it, is a byte.
template <int HIGH> struct Digits {
  enum { BYTES = (4 + HIGH) * CHUNK * PANEL / 8 };
  const uint8_t *data;

  // Digit k less BIAS.
  template <int BIAS> OCTAVO_INLINE_MEMBER Vec less(int k) const {
    const Bits nibbles = load_bits(data + 64 * (k / 8));
    if constexpr (HIGH == 0)
      return low_digits<4, BIAS>(shift_right(nibbles, 4 * (k % 8)));
    const int place = HIGH * (2 * (k / 8) + k % 2), left = 4 - place % 8;
    const Bits word = load_bits(data + 64 * (4 + place / 8));
    const Bits above = left < 0 ? shift_right(word, -left) : shift_left(word, left);
    const Bits digits = select(0x0f0f0f0fu, shift_right(nibbles, 4 * (k % 2)), above);
    return low_digits<4 + HIGH, BIAS>(shift_right(digits, 8 * (k % 8 / 2)));
  }

  OCTAVO_INLINE_MEMBER Bits quad(int j) const {
    const Bits nibbles = shift_right(load_bits(data + 64 * (j / 2)), 4 * (j % 2));
    if constexpr (HIGH == 0)
      return bit_and(nibbles, 0x0f0f0f0fu);
    const int left = 4 - HIGH * j % 8;
    const Bits word = load_bits(data + 64 * (4 + HIGH * j / 8));
    const Bits above = left < 0 ? shift_right(word, -left) : shift_left(word, left);
    return bit_and(select(0x0f0f0f0fu, nibbles, above), HIGH == 1 ? 0x1f1f1f1fu : 0x3f3f3f3fu);
  }
};

// d * (q - bias): digits, then d.
template <WeightFormat F, int HIGH> struct SymmetricGroup : Alone {
  enum { BYTES = Digits<HIGH>::BYTES + 2 * PANEL };
  Digits<HIGH> digits;
  Vec scale;

  OCTAVO_INLINE_MEMBER SymmetricGroup(const uint8_t *panel, int g)
      : digits{group_data<F>(panel, g)}, scale(load_f16(group_data<F>(panel, g) + Digits<HIGH>::BYTES)) {}

  OCTAVO_INLINE_MEMBER Bits row(int k) const {
    return add_half(multiply(digits.template less<(8 << HIGH)>(k), scale));
  }
  OCTAVO_INLINE_MEMBER Bits quad(int j) const { return digits.quad(j); }

  OCTAVO_INLINE_MEMBER RoundedPair rounded(int pair) const { return {row(2 * pair), row(2 * pair + 1)}; }
};

// d * q + m.
template <int HIGH> struct AffineGroup {
  Digits<HIGH> digits;
  Vec scale, minimum;

  OCTAVO_INLINE_MEMBER Bits row(int k) const {
    return add_half(multiply_add(digits.template less<0>(k), scale, minimum));
  }
  OCTAVO_INLINE_MEMBER Bits quad(int j) const { return digits.quad(j); }

  OCTAVO_INLINE_MEMBER RoundedPair rounded(int pair) const { return {row(2 * pair), row(2 * pair + 1)}; }
};

// Digits, then d and m.
template <WeightFormat F, int HIGH> struct PlainGroup : Alone, AffineGroup<HIGH> {
  enum { BYTES = Digits<HIGH>::BYTES + 4 * PANEL };

  OCTAVO_INLINE_MEMBER PlainGroup(const uint8_t *panel, int g) : PlainGroup(group_data<F>(panel, g)) {}

private:
  OCTAVO_INLINE_MEMBER explicit PlainGroup(const uint8_t *data)
      : AffineGroup<HIGH>{Digits<HIGH>{data}, load_f16(data + Digits<HIGH>::BYTES),
                          load_f16(data + Digits<HIGH>::BYTES + 2 * PANEL)} {}
};

// Digits, then a byte each by which d and m of the header (m negative already) are multiplied: exact.
template <WeightFormat F, int HIGH> struct SharedGroup : AffineGroup<HIGH> {
  enum { BYTES = Digits<HIGH>::BYTES + 2 * PANEL, SPAN = 8, HEADER_BYTES = 4 * PANEL };

  OCTAVO_INLINE_MEMBER SharedGroup(const uint8_t *panel, int g)
      : SharedGroup(span_data<F>(panel, g / SPAN), group_data<F>(panel, g)) {}

private:
  OCTAVO_INLINE_MEMBER SharedGroup(const uint8_t *header, const uint8_t *data)
      : AffineGroup<HIGH>{
            Digits<HIGH>{data}, multiply(load_f16(header), load_bytes(data + Digits<HIGH>::BYTES)),
            multiply(load_f16(header + 2 * PANEL), load_bytes(data + Digits<HIGH>::BYTES + PANEL))} {}
};

template <> struct Group<WeightFormat::Q4_0> : SymmetricGroup<WeightFormat::Q4_0, 0> {
  using SymmetricGroup::SymmetricGroup;
};
template <> struct Group<WeightFormat::Q4_1> : PlainGroup<WeightFormat::Q4_1, 0> {
  using PlainGroup::PlainGroup;
};
template <> struct Group<WeightFormat::Q5_0> : SymmetricGroup<WeightFormat::Q5_0, 1> {
  using SymmetricGroup::SymmetricGroup;
};
template <> struct Group<WeightFormat::Q5_1> : PlainGroup<WeightFormat::Q5_1, 1> {
  using PlainGroup::PlainGroup;
};
template <> struct Group<WeightFormat::Q4_K> : SharedGroup<WeightFormat::Q4_K, 0> {
  using SharedGroup::SharedGroup;
};
template <> struct Group<WeightFormat::Q5_K> : SharedGroup<WeightFormat::Q5_K, 1> {
  using SharedGroup::SharedGroup;
};

// d * s * (q - 32): digits, then a signed byte s for each half of the group; d in the header.
template <> struct Group<WeightFormat::Q6_K> {
  enum { BYTES = Digits<2>::BYTES + 2 * PANEL, SPAN = 8, HEADER_BYTES = 2 * PANEL };
  Digits<2> digits;
  Vec scale, steps[2], scales[2]; // scales: scale * steps

  OCTAVO_INLINE_MEMBER Group(const uint8_t *panel, int g)
      : digits{group_data<WeightFormat::Q6_K>(panel, g)},
        scale(load_f16(span_data<WeightFormat::Q6_K>(panel, g / SPAN))) {
    const uint8_t *bytes = group_data<WeightFormat::Q6_K>(panel, g) + Digits<2>::BYTES;
    for (int half = 0; half < 2; half++) {
      steps[half] = load_signed_bytes(bytes + half * PANEL);
      scales[half] = multiply(scale, steps[half]);
    }
  }

  OCTAVO_INLINE_MEMBER Bits row(int k) const {
    return add_half(multiply(digits.less<32>(k), scales[k / (CHUNK / 2)]));
  }
  OCTAVO_INLINE_MEMBER Bits quad(int j) const { return digits.quad(j); }

  OCTAVO_INLINE_MEMBER RoundedPair rounded(int pair) const { return {row(2 * pair), row(2 * pair + 1)}; }
};

// A group straight from memory, unpacked in registers.
template <WeightFormat F> struct Packed {
  enum { PAIRS_AHEAD = PARTS == 1 ? 8 : 1 };
  Group<F> group;

  OCTAVO_INLINE_MEMBER void pair(int pair, Vec &even, Vec &odd) const {
    RoundedPair rounded = group.rounded(pair);
    even = as_float(bit_and(rounded.even, BF16_MASK));
    odd = as_float(bit_and(rounded.odd, BF16_MASK));
  }
};

// A group that stage() has unpacked before: [32 k][16 columns] fp32.
struct Staged {
  enum { PAIRS_AHEAD = 1 };
  const float *data;

  OCTAVO_INLINE_MEMBER void pair(int pair, Vec &even, Vec &odd) const {
    even = load(data + 2 * PANEL * pair);
    odd = load(data + 2 * PANEL * pair + PANEL);
  }
};

template <WeightFormat F> OCTAVO_INLINE void stage(const Group<F> &group, float *out) {
  const Packed<F> packed{group};
#pragma GCC unroll 16
  for (int j = 0; j < PAIRS; j++) {
    Vec even, odd;
    packed.pair(j, even, odd);
    store(out + 2 * PANEL * j, even);
    store(out + 2 * PANEL * j + PANEL, odd);
  }
}

// The same as pairs of bf16, what an AMX tile holds.
template <WeightFormat F> OCTAVO_INLINE void stage_tile(const Group<F> &group, uint8_t *out) {
#pragma GCC unroll 16
  for (int j = 0; j < PAIRS; j++) {
    RoundedPair rounded = group.rounded(j);
    store_bits(out + 64 * j, bit_or(bit_and(rounded.odd, BF16_MASK), shift_right(rounded.even, 16)));
  }
}

// Where a prefetched group is wanted. Beyond the end of the weights a prefetch is harmless: it never faults.
enum Cache { L2 = 2, L1 = 3 }; // as __builtin_prefetch numbers them

template <WeightFormat F, Cache C> OCTAVO_INLINE void prefetch(const uint8_t *group) {
#pragma GCC unroll 16
  for (int offset = 0; offset < (int)Group<F>::BYTES; offset += 64)
    __builtin_prefetch(group + offset, 0, C);
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
