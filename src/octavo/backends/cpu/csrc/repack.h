// From a tensor as a GGUF or safetensors file holds it, row after row, to the panels that kernels.h
// describes.
#pragma once
#include "capi.h"

namespace octavo {

// The numbers are those of GGUF tensor types.
enum class SourceType : int32_t { F32 = 0, F16 = 1, Q4_1 = 3, Q8_0 = 8, BF16 = 30 };

} // namespace octavo

// The WeightFormat a source type is repacked to, or -1: Q4_1 and Q8_0 keep their bits, the others become
// BF16.
OCTAVO_API int32_t octavo_packed_format(int32_t source_type);

// Bytes of num_columns (N) x depth (K) weights in a WeightFormat: whole panels of whole groups. 0: no such
// format.
OCTAVO_API size_t octavo_packed_bytes(int32_t format, int64_t num_columns, int64_t depth);

// Writes panels [panel_begin, panel_end) of all of `packed` (64-byte aligned) from all of `source`; calls for
// different panels may run at the same time. F16 and F32 are rounded to bf16 by "add half, mask". The depth
// of a quantized tensor is a multiple of 32. Returns 0, or 1 when the type is unknown or the depth or the
// panels do not fit it.
OCTAVO_API int32_t octavo_repack(int32_t source_type, const void *source, void *packed, int64_t num_columns,
                                 int64_t depth, int64_t panel_begin, int64_t panel_end);
