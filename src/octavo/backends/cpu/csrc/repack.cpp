// Which packer a source type takes, and the loop over panels.
#include "repack.h"

#include "repack_groups.h"

namespace octavo {
namespace {

struct Layer {
  const uint8_t *source;
  uint8_t *packed;
  int64_t num_columns, depth, panel_begin, panel_end;
};

int64_t div_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

// A row is as long as its elements: only dense rows end within a span.
template <class Packer> int32_t pack_panels(const Layer &layer) {
  const int64_t span_depth = Packer::GROUPS * CHUNK, spans = div_up(layer.depth, span_depth);
  const int64_t row_bytes = layer.depth * Packer::SOURCE_BYTES / span_depth;
  bool is_finite = true;
  for (int64_t panel = layer.panel_begin; panel < layer.panel_end; panel++) {
    const int64_t first = panel * PANEL, rest = layer.num_columns - first;
    const int lanes = rest < PANEL ? (int)rest : PANEL;
    for (int64_t s = 0; s < spans; s++) {
      uint8_t *span = layer.packed + (panel * spans + s) * Packer::PACKED_BYTES;
      const int64_t left = layer.depth - s * span_depth;
      if (lanes < PANEL)
        memset(span, 0, Packer::PACKED_BYTES);
      for (int lane = 0; lane < lanes; lane++)
        is_finite &= Packer::pack(layer.source + (first + lane) * row_bytes + s * Packer::SOURCE_BYTES,
                                  left < span_depth ? (int)left : (int)span_depth, span, lane);
    }
  }
  return is_finite ? 0 : 2;
}

struct Packing {
  SourceType type;
  WeightFormat format;
  int groups, depth_unit; // k of a tensor come in multiples of depth_unit
  int64_t packed_bytes;   // of a span
  int32_t (*pack)(const Layer &);
};

template <class Packer> constexpr Packing packing(SourceType type, WeightFormat format) {
  return {type,
          format,
          Packer::GROUPS,
          format == WeightFormat::BF16 ? 1 : Packer::GROUPS * CHUNK,
          Packer::PACKED_BYTES,
          pack_panels<Packer>};
}

constexpr Packing PACKINGS[] = {
    packing<DensePacker<FromF32>>(SourceType::F32, WeightFormat::BF16),
    packing<DensePacker<FromF16>>(SourceType::F16, WeightFormat::BF16),
    packing<DensePacker<FromBF16>>(SourceType::BF16, WeightFormat::BF16),
    packing<Q8Packer>(SourceType::Q8_0, WeightFormat::Q8_0),
    packing<LegacyPacker<0, 1>>(SourceType::Q4_0, WeightFormat::Q4_0),
    packing<LegacyPacker<0, 2>>(SourceType::Q4_1, WeightFormat::Q4_1),
    packing<LegacyPacker<1, 1>>(SourceType::Q5_0, WeightFormat::Q5_0),
    packing<LegacyPacker<1, 2>>(SourceType::Q5_1, WeightFormat::Q5_1),
    packing<SharedPacker<0>>(SourceType::Q4_K, WeightFormat::Q4_K),
    packing<SharedPacker<1>>(SourceType::Q5_K, WeightFormat::Q5_K),
    packing<Q6Packer>(SourceType::Q6_K, WeightFormat::Q6_K),
};

template <class Key> const Packing *find(Key Packing::*member, int32_t key) {
  for (const Packing &packing : PACKINGS)
    if (packing.*member == (Key)key)
      return &packing;
  return nullptr;
}

} // namespace
} // namespace octavo

using namespace octavo;

OCTAVO_API int32_t octavo_packed_format(int32_t source_type) {
  const Packing *packing = find(&Packing::type, source_type);
  return packing ? (int32_t)packing->format : -1;
}

OCTAVO_API size_t octavo_packed_bytes(int32_t format, int64_t num_columns, int64_t depth) {
  const Packing *packing = find(&Packing::format, format);
  if (!packing || depth % packing->depth_unit)
    return 0;
  const int64_t spans = div_up(depth, packing->groups * CHUNK);
  return (size_t)(div_up(num_columns, PANEL) * spans * packing->packed_bytes);
}

OCTAVO_API int32_t octavo_repack(int32_t source_type, const void *source, void *packed, int64_t num_columns,
                                 int64_t depth, int64_t panel_begin, int64_t panel_end) {
  const Packing *packing = find(&Packing::type, source_type);
  if (!packing || depth % packing->depth_unit || panel_begin < 0 || panel_end > div_up(num_columns, PANEL))
    return 1;
  return packing->pack(
      {(const uint8_t *)source, (uint8_t *)packed, num_columns, depth, panel_begin, panel_end});
}
