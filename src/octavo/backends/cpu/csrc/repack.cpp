// Repacking is moving bits: quantized weights are not changed, fp16 and fp32 are rounded to bf16 once, here.
#include "repack.h"

#include <cstring>

namespace octavo {
namespace {

// fp32 bits to bf16 by "add half, mask"; NaN stays NaN.
bf16 round_to_bf16(uint32_t bits) {
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return (bf16)((is_nan ? bits | 0x00400000u : bits + 0x8000u) >> 16);
}

uint32_t half_to_float_bits(uint16_t half) {
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

// Each packs `count` k (1 to 32) of one column, from `source`, into its lane of a zeroed group.
template <class From> struct DenseGroup {
  enum { SOURCE_BYTES = CHUNK * From::ELEMENT_BYTES, PACKED_BYTES = CHUNK * PANEL * 2 };

  static void pack(const uint8_t *source, int count, uint8_t *group, int lane) {
    bf16 row[CHUNK] = {};
    if (count == CHUNK)
      for (int k = 0; k < CHUNK; k++)
        row[k] = From::convert(source + k * From::ELEMENT_BYTES);
    else
      for (int k = 0; k < count; k++)
        row[k] = From::convert(source + k * From::ELEMENT_BYTES);
    for (int pair = 0; pair < CHUNK / 2; pair++)
      memcpy(group + (pair * PANEL + lane) * 4, row + 2 * pair, 4);
  }
};

// A NaN is made the plain one: "add half, mask" would carry out of a NaN whose every bit is set.
void copy_scale(uint8_t *target, const uint8_t *source) {
  uint16_t scale;
  memcpy(&scale, source, sizeof scale);
  if ((scale & 0x7fff) > 0x7c00)
    scale = 0x7e00;
  memcpy(target, &scale, sizeof scale);
}

// Source block: f16 d, then 32 signed bytes.
struct Q8Group {
  enum { SOURCE_BYTES = 2 + CHUNK, PACKED_BYTES = (CHUNK + 2) * PANEL };

  static void pack(const uint8_t *source, int, uint8_t *group, int lane) {
    for (int k = 0; k < CHUNK; k++)
      group[k * PANEL + lane] = source[2 + k];
    copy_scale(group + CHUNK * PANEL + 2 * lane, source);
  }
};

// The low nibbles of eight bytes, gathered: byte i becomes nibble i.
uint32_t gather_low_nibbles(uint64_t bytes) {
  uint64_t x = bytes & 0x0f0f0f0f0f0f0f0full;
  x = (x | x >> 4) & 0x00ff00ff00ff00ffull;
  x = (x | x >> 8) & 0x0000ffff0000ffffull;
  return (uint32_t)(x | x >> 16);
}

// Source block: f16 d, f16 m, then 16 bytes whose low nibbles are k 0 to 15 and whose high nibbles are k 16
// to 31.
struct Q4Group {
  enum { SOURCE_BYTES = 4 + CHUNK / 2, PACKED_BYTES = (CHUNK / 2 + 4) * PANEL };

  static void pack(const uint8_t *source, int, uint8_t *group, int lane) {
    uint64_t first, second;
    memcpy(&first, source + 4, 8);
    memcpy(&second, source + 12, 8);
    const uint32_t words[4] = {gather_low_nibbles(first), gather_low_nibbles(second),
                               gather_low_nibbles(first >> 4), gather_low_nibbles(second >> 4)};
    for (int word = 0; word < 4; word++)
      memcpy(group + (word * PANEL + lane) * 4, words + word, 4);
    copy_scale(group + CHUNK / 2 * PANEL + 2 * lane, source);
    copy_scale(group + (CHUNK / 2 + 2) * PANEL + 2 * lane, source + 2);
  }
};

struct Layer {
  const uint8_t *source;
  uint8_t *packed;
  int64_t num_columns, depth, row_bytes;
};

template <class Format> void pack_panels(const Layer &layer, int64_t panel_begin, int64_t panel_end) {
  const int64_t groups = (layer.depth + CHUNK - 1) / CHUNK;
  for (int64_t panel = panel_begin; panel < panel_end; panel++) {
    const int64_t first = panel * PANEL, rest = layer.num_columns - first;
    const int lanes = rest < PANEL ? (int)rest : PANEL;
    for (int64_t g = 0; g < groups; g++) {
      uint8_t *group = layer.packed + (panel * groups + g) * Format::PACKED_BYTES;
      const int64_t left = layer.depth - g * CHUNK;
      if (lanes < PANEL)
        memset(group, 0, Format::PACKED_BYTES);
      for (int lane = 0; lane < lanes; lane++)
        Format::pack(layer.source + (first + lane) * layer.row_bytes + g * Format::SOURCE_BYTES,
                     left < CHUNK ? (int)left : CHUNK, group, lane);
    }
  }
}

int64_t group_bytes(WeightFormat format) {
  switch (format) {
  case WeightFormat::BF16:
    return DenseGroup<FromBF16>::PACKED_BYTES;
  case WeightFormat::Q8_0:
    return Q8Group::PACKED_BYTES;
  case WeightFormat::Q4_1:
    return Q4Group::PACKED_BYTES;
  }
  return 0;
}

} // namespace
} // namespace octavo

using namespace octavo;

OCTAVO_API int32_t octavo_packed_format(int32_t source_type) {
  switch ((SourceType)source_type) {
  case SourceType::F32:
  case SourceType::F16:
  case SourceType::BF16:
    return (int32_t)WeightFormat::BF16;
  case SourceType::Q8_0:
    return (int32_t)WeightFormat::Q8_0;
  case SourceType::Q4_1:
    return (int32_t)WeightFormat::Q4_1;
  }
  return -1;
}

OCTAVO_API size_t octavo_packed_bytes(int32_t format, int64_t num_columns, int64_t depth) {
  const int64_t panels = (num_columns + PANEL - 1) / PANEL, groups = (depth + CHUNK - 1) / CHUNK;
  return (size_t)(panels * groups * group_bytes((WeightFormat)format));
}

OCTAVO_API int32_t octavo_repack(int32_t source_type, const void *source, void *packed, int64_t num_columns,
                                 int64_t depth, int64_t panel_begin, int64_t panel_end) {
  if (panel_begin < 0 || panel_end > (num_columns + PANEL - 1) / PANEL)
    return 1;
  const bool is_whole = depth % CHUNK == 0;
  Layer layer = {(const uint8_t *)source, (uint8_t *)packed, num_columns, depth, 0};
  switch ((SourceType)source_type) {
  case SourceType::F32:
    layer.row_bytes = depth * FromF32::ELEMENT_BYTES;
    return pack_panels<DenseGroup<FromF32>>(layer, panel_begin, panel_end), 0;
  case SourceType::F16:
    layer.row_bytes = depth * FromF16::ELEMENT_BYTES;
    return pack_panels<DenseGroup<FromF16>>(layer, panel_begin, panel_end), 0;
  case SourceType::BF16:
    layer.row_bytes = depth * FromBF16::ELEMENT_BYTES;
    return pack_panels<DenseGroup<FromBF16>>(layer, panel_begin, panel_end), 0;
  case SourceType::Q8_0:
    layer.row_bytes = depth / CHUNK * Q8Group::SOURCE_BYTES;
    return is_whole ? (pack_panels<Q8Group>(layer, panel_begin, panel_end), 0) : 1;
  case SourceType::Q4_1:
    layer.row_bytes = depth / CHUNK * Q4Group::SOURCE_BYTES;
    return is_whole ? (pack_panels<Q4Group>(layer, panel_begin, panel_end), 0) : 1;
  }
  return 1;
}
