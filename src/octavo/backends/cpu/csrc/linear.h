// The entries of linear.cpp and linear_int8.cpp in this build's KernelTable; kernels.h says what they
// promise.
#pragma once
#include "isa.h"
#include "kernels.h"

namespace OCTAVO_KERNEL_NAMESPACE {

int linear_num_items(const LinearArgs &);
void linear_item(const LinearArgs &, int item, uint8_t *scratch);
void linear_int8_item(const LinearArgs &, int item);
void linear_int8_item_vnni(const LinearArgs &, int item); // of AVX2 and AVX-512: where VPDPBUSD is
ColumnBest best_of_item(const LinearArgs &, int item, int row);
size_t linear_scratch_bytes(int32_t depth);
void unpack_row(const LinearWeight &, int32_t row, float *out);
void thread_begin();
void thread_end();

} // namespace OCTAVO_KERNEL_NAMESPACE
