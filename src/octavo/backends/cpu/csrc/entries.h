// The entries of rowwise.cpp, attention.cpp, sample.cpp and logprobs.cpp in this build's KernelTable;
// kernels.h says what they promise.
#pragma once
#include "isa.h"
#include "kernels.h"

namespace OCTAVO_KERNEL_NAMESPACE {

void norm_row(const float *x, const float *weight, bf16 *y, const NormAttrs &);
void norm_row_f32(const float *x, const float *weight, float *y, const NormAttrs &);
void rope_row(const float *x, bf16 *y, const float *cos, const float *sin, const RopeAttrs &);
void kv_fetch_row(uint8_t *block, int offset, int num_layers, KVFormat, const KVWriteAttrs &);
void kv_write_row(const bf16 *rotated, uint8_t *block, int offset, int num_layers, KVFormat,
                  const KVWriteAttrs &);
void act_mul_rows(const float *x, int64_t x_stride, bf16 *y, int64_t y_stride, int num_rows,
                  const ActMulAttrs &);
void quantize_groups(const bf16 *x, DigitGroup *groups, int num_groups);
void route_row(const float *logits, float *routes, const RouteAttrs &);
void combine_row(const float *const *rows, const float *weights, float *y, int width, const CombineAttrs &);
void scale_row(const float *x, bf16 *y, int width, const ScaleAttrs &);
void scale_row_f32(const float *x, float *y, int width, const ScaleAttrs &);

size_t attention_scratch_bytes(int32_t head_dim, KVFormat);
void attention_rows(const AttentionArgs &, const AttentionArgs *next, uint8_t *scratch);

size_t sample_scratch_bytes(int32_t vocab_size);
int32_t sample_row(const SampleArgs &, uint8_t *scratch);

bool score_row(const ScoreArgs &);

} // namespace OCTAVO_KERNEL_NAMESPACE
