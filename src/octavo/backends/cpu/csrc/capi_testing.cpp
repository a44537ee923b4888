// One op at a time on any instruction set that can run here: for tests and inspection, never on the engine's
// path.
//
// Each call returns 0, or 1 when `isa` cannot run here, and leaves the calling thread's floating-point mode
// as it was.
#include <cstdlib>

#include "capi.h"
#include "dispatch.h"
#include "float_mode.h"
#include "memory.h"

using namespace octavo;

// The builds that can run here, best first; null past the last.
OCTAVO_API const char *octavo_test_isa(int32_t index) { return available_kernels(index); }

// How often this library has allocated memory, and how many bytes it holds now.
OCTAVO_API void octavo_test_allocations(int64_t *count, int64_t *bytes) {
  const Allocations now = allocations();
  *count = now.count;
  *bytes = now.bytes;
}

OCTAVO_API int32_t octavo_test_linear_num_items(const char *isa, const LinearArgs *args) {
  const KernelTable *kernels = select_kernels(isa);
  return kernels ? kernels->linear_num_items(*args) : -1;
}

// Computes items [item_begin, item_end) of a layer.
OCTAVO_API int32_t octavo_test_linear(const char *isa, const LinearArgs *args, int32_t item_begin,
                                      int32_t item_end) {
  const KernelTable *kernels = select_kernels(isa);
  if (!kernels)
    return 1;
  const size_t bytes = kernels->linear_scratch_bytes(args->weight.depth);
  uint8_t *scratch = (uint8_t *)aligned_alloc(MAX_SCRATCH_ALIGN, (bytes + 63) / 64 * 64);
  if (!scratch)
    return 1;
  {
    FloatMode mode;
    kernels->thread_begin();
    for (int32_t item = item_begin; item < item_end; item++)
      if (args->is_int8())
        kernels->linear_int8_item(*args, item);
      else
        kernels->linear_item(*args, item, scratch);
    kernels->thread_end();
  }
  free(scratch);
  return 0;
}

OCTAVO_API int32_t octavo_test_quantize(const char *isa, const bf16 *x, DigitGroup *groups,
                                        int32_t num_groups) {
  const KernelTable *kernels = select_kernels(isa);
  if (!kernels)
    return 1;
  FloatMode mode;
  kernels->quantize_groups(x, groups, num_groups);
  return 0;
}

OCTAVO_API int32_t octavo_test_unpack_row(const char *isa, const LinearWeight *weight, int32_t row,
                                          float *out) {
  const KernelTable *kernels = select_kernels(isa);
  if (!kernels)
    return 1;
  FloatMode mode;
  kernels->unpack_row(*weight, row, out);
  return 0;
}

// The tokens that are sampled from one row at num_positions positions, ascending.
OCTAVO_API int32_t octavo_test_sample(const char *isa, const SampleArgs *args, int32_t num_positions,
                                      int32_t *tokens) {
  const KernelTable *kernels = select_kernels(isa);
  if (!kernels)
    return 1;
  const size_t bytes = kernels->sample_scratch_bytes(args->vocab_size);
  uint8_t *scratch = (uint8_t *)aligned_alloc(MAX_SCRATCH_ALIGN, (bytes + 63) / 64 * 64);
  if (!scratch)
    return 1;
  SampleArgs at = *args;
  for (int32_t i = 0; i < num_positions; i++, at.position++) {
    FloatMode mode;
    tokens[i] = kernels->sample_row(at, scratch);
  }
  free(scratch);
  return 0;
}

// 1 also when the row is not finite.
OCTAVO_API int32_t octavo_test_score(const char *isa, const ScoreArgs *args) {
  const KernelTable *kernels = select_kernels(isa);
  if (!kernels)
    return 1;
  FloatMode mode;
  return kernels->score_row(*args) ? 0 : 1;
}
