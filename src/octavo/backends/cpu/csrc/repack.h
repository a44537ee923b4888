// From a tensor as a GGUF or safetensors file holds it, row after row, to the panels that kernels.h
// describes.
#pragma once
#include "capi.h"

namespace octavo {

// The numbers are those of GGUF tensor types.
enum class SourceType : int32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  BF16 = 30
};

} // namespace octavo

// The WeightFormat a source type is repacked to, or -1: F32, F16 and BF16 become BF16, the others keep their
// bits.
OCTAVO_API int32_t octavo_packed_format(int32_t source_type);

// Bytes of num_columns (N) x depth (K) weights in a WeightFormat: whole panels of whole groups. 0: no such
// format, or a depth it cannot have.
OCTAVO_API size_t octavo_packed_bytes(int32_t format, int64_t num_columns, int64_t depth);

// Writes panels [panel_begin, panel_end) of all of `packed` (64-byte aligned) from all of `source`; calls for
// different panels may run at the same time. F16 and F32 are rounded to bf16 by "add half, mask". The depth
// of a quantized tensor is a multiple of 32, of a K format one of 256. Returns 0; 1 when the type is unknown
// or the depth or the panels do not fit it; 2 when a weight or scale is NaN or infinite: all is written all
// the same.
OCTAVO_API int32_t octavo_repack(int32_t source_type, const void *source, void *packed, int64_t num_columns,
                                 int64_t depth, int64_t panel_begin, int64_t panel_end);
