// Where the K and V of one kv head and layer lie in a block: K, of int8 their units and those of V, then V.
#pragma once
#include "isa.h"
#include "kernels.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

struct KVLayout {
  int64_t keys_bytes; // of a block's 16 tokens, and of its values as many
  int64_t units_bytes;

  int64_t values_offset() const { return keys_bytes + units_bytes; }
  int64_t bytes() const { return values_offset() + keys_bytes; }
};

OCTAVO_INLINE KVLayout kv_layout(KVFormat format, int head_dim) {
  const int64_t numbers = (int64_t)BLOCK_SIZE * head_dim;
  if (format == KVFormat::INT8)
    return {numbers, 2 * BLOCK_SIZE * (int64_t)sizeof(float)};
  return {numbers * (int64_t)sizeof(bf16), 0};
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
