// The ops whose rows do not look at each other: norm, rotary embedding, KV write, activation. One call is one
// row.
#include "vec16.h"

namespace OCTAVO_KERNEL_NAMESPACE {

// y = bf16(x * (1 / sqrt(mean of squares + epsilon)) * weight); squares by a tree per 32 columns, then
// ascending.
void norm_row(const float *x, const float *weight, bf16 *y, int width, float epsilon) {
  float total = 0.0f;
  for (int c = 0; c < width; c += CHUNK) {
    int rest = width - c;
    f32x16 low = rest >= 16 ? load<f32x16>(x + c) : load_first(x + c, rest);
    f32x16 high = rest >= 32  ? load<f32x16>(x + c + 16)
                  : rest > 16 ? load_first(x + c + 16, rest - 16)
                              : f32x16{};
    total = total + tree_sum(low * low + high * high);
  }
  float mean = total / (float)width;
  float inverse = 1.0f / __builtin_sqrtf(mean + epsilon);
  int c = 0;
  for (; c + LANES <= width; c += LANES)
    store(y + c, to_bf16(load<f32x16>(x + c) * inverse * load<f32x16>(weight + c)));
  for (; c < width; c++)
    y[c] = to_bf16(x[c] * inverse * weight[c]);
}

// [q heads | k heads | v heads] of one row: q and k rotated by (cos, sin)[head_dim / 2], v only rounded.
void rope_row(const float *x, bf16 *y, const float *cos, const float *sin, const RopeAttrs &attrs) {
  const int head_dim = attrs.head_dim, half = head_dim / 2;
  const int num_rotated = attrs.num_heads + attrs.num_kv_heads;
  const int step = attrs.is_interleaved ? 2 : 1, distance = attrs.is_interleaved ? 1 : half;
  for (int head = 0; head < num_rotated; head++, x += head_dim, y += head_dim)
    for (int i = 0; i < half; i++) {
      float a = x[i * step], b = x[i * step + distance];
      y[i * step] = to_bf16(a * cos[i] - b * sin[i]);
      y[i * step + distance] = to_bf16(b * cos[i] + a * sin[i]);
    }
  for (int i = 0; i < (int)attrs.num_kv_heads * head_dim; i++)
    y[i] = to_bf16(x[i]);
}

// The k and v heads of one row into its block. K: [head_dim / 2][16 tokens][2], V: [8 pairs][head_dim][2].
void kv_write_row(const bf16 *rotated, uint8_t *block, int offset, int num_layers,
                  const KVWriteAttrs &attrs) {
  const int head_dim = attrs.head_dim;
  const int64_t slab = (int64_t)BLOCK_SIZE * head_dim; // elements
  const bf16 *k = rotated + attrs.num_heads * head_dim;
  const bf16 *v = k + attrs.num_kv_heads * head_dim;
  for (int head = 0; head < attrs.num_kv_heads; head++, k += head_dim, v += head_dim) {
    bf16 *keys = (bf16 *)block + 2 * slab * (head * num_layers + attrs.layer);
    bf16 *values = keys + slab + (offset / 2) * 2 * head_dim + offset % 2;
    for (int pair = 0; pair < head_dim / 2; pair++)
      memcpy(keys + 2 * (pair * BLOCK_SIZE + offset), k + 2 * pair, 2 * sizeof(bf16));
    for (int d = 0; d < head_dim; d++)
      values[2 * d] = v[d];
  }
}

// y = bf16(gate / (1 + e^-gate) * up) of one row [gate | up].
void act_mul_row(const float *x, bf16 *y, int width) {
  const float *gate = x, *up = x + width;
  int c = 0;
  for (; c + LANES <= width; c += LANES) {
    f32x16 g = load<f32x16>(gate + c);
    store(y + c, to_bf16(g / (1.0f + exp(-g)) * load<f32x16>(up + c)));
  }
  if (c < width) {
    f32x16 g = load_first(gate + c, width - c);
    u16x16 last = to_bf16(g / (1.0f + exp(-g)) * load_first(up + c, width - c));
    memcpy(y + c, &last, sizeof(bf16) * (width - c));
  }
}

// out = row of the embedding * scale.
void scale_row(float *x, int width, float scale) {
  for (int c = 0; c < width; c++)
    x[c] = x[c] * scale;
}

} // namespace OCTAVO_KERNEL_NAMESPACE
