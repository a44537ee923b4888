// This build's table: what the executor calls.
#include "entries.h"
#include "linear.h"

#define OCTAVO_STRING(x) #x
#define OCTAVO_NAME(x) OCTAVO_STRING(x)

namespace OCTAVO_KERNEL_NAMESPACE {

static constexpr KernelTable table(void (*int8_item)(const LinearArgs &, int)) {
  return {
      OCTAVO_NAME(OCTAVO_ISA),
      linear_num_items,
      linear_item,
      int8_item,
      best_of_item,
      linear_scratch_bytes,
      unpack_row,
      norm_row,
      norm_row_f32,
      rope_row,
      kv_fetch_row,
      kv_write_row,
      act_mul_rows,
      quantize_groups,
      route_row,
      combine_row,
      scale_row,
      scale_row_f32,
      attention_scratch_bytes,
      attention_rows,
      sample_scratch_bytes,
      sample_row,
      score_row,
      thread_begin,
      thread_end,
  };
}

extern const KernelTable KERNELS;
const KernelTable KERNELS = table(linear_int8_item);
#if defined(OCTAVO_ISA_avx2) || defined(OCTAVO_ISA_avx512)
extern const KernelTable KERNELS_WITH_VNNI;
const KernelTable KERNELS_WITH_VNNI = table(linear_int8_item_vnni);
#endif

} // namespace OCTAVO_KERNEL_NAMESPACE
