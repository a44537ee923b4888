// The ops whose rows do not look at each other: norm, rotary embedding, KV write, activation. One call is one
// row.
#include "kv_layout.h"
#include "quantize.h"

namespace OCTAVO_KERNEL_NAMESPACE {

namespace {

// 1 / sqrt(mean of squares + epsilon); squares by a tree per 32 columns, then ascending.
float inverse_norm(const float *x, int width, float epsilon) {
  float total = 0.0f;
  for (int c = 0; c < width; c += CHUNK) {
    FloatPart squares[PARTS];
    OCTAVO_EACH_PART {
      const int low_column = c + i * PART_LANES, high_column = low_column + LANES;
      const FloatPart low = load_up_to<FloatPart>(x + low_column, width - low_column);
      const FloatPart high = load_up_to<FloatPart>(x + high_column, width - high_column);
      squares[i] = low * low + high * high;
    }
    total = total + tree_sum(joined(squares));
  }
  float mean = total / (float)width;
  return 1.0f / __builtin_sqrtf(mean + epsilon);
}

OCTAVO_INLINE void store_up_to(float *y, FloatPart x, int count) {
  memcpy(y, &x, sizeof(float) * (count < PART_LANES ? count : PART_LANES));
}
OCTAVO_INLINE void store_up_to(bf16 *y, FloatPart x, int count) {
  const HalvesPart bits = to_bf16(x);
  memcpy(y, &bits, sizeof(bf16) * (count < PART_LANES ? count : PART_LANES));
}

// y[c] = fn(load, c) a part of sixteen columns at a time; load(x, c): that part of x, zeros beyond the width.
template <class Out, class Fn> OCTAVO_INLINE void each_part(Out *y, int width, Fn &&fn) {
  int c = 0;
  const auto whole = [](const float *x, int column) { return load_part(x + column); };
  for (; c + PART_LANES <= width; c += PART_LANES)
    store_up_to(y + c, fn(whole, c), PART_LANES);
  const auto some = [width](const float *x, int column) {
    return load_up_to<FloatPart>(x + column, width - column);
  };
  for (; c < width; c += PART_LANES)
    store_up_to(y + c, fn(some, c), width - c);
}

template <class Out>
OCTAVO_INLINE void norm_groups(const float *x, const float *weight, Out *y, const NormAttrs &attrs) {
  const int width = attrs.width;
  x += attrs.first_column;
  y += attrs.first_column;
  for (int group = 0; group < attrs.num_groups; group++, x += width, y += width) {
    const float inverse = inverse_norm(x, width, (float)attrs.epsilon);
    each_part(y, width, [&](auto &&load, int c) {
      const FloatPart normed = load(x, c) * inverse * load(weight, c);
      if constexpr (sizeof(Out) == sizeof(float))
        return attrs.has_residual ? load(y, c) + normed : normed;
      return normed;
    });
  }
}

// x / (1 + e^-x), or gelu's tanh formula, which is x / (1 + e^-(x (A + B x^2))), of each x.
template <bool IS_GELU, int COUNT> OCTAVO_INLINE void activate_each(FloatPart (&x)[COUNT]) {
  FloatPart power[COUNT];
  OCTAVO_EACH power[i] =
      IS_GELU ? -(x[i] * (x[i] * x[i] * 0.0713548162726009f + 1.5957691216057308f)) : -x[i];
  exp_of_any(power);
  OCTAVO_EACH x[i] = x[i] / (1.0f + power[i]);
}

struct GatedRows {
  const float *gate, *up;
  int64_t x_stride;
  bf16 *y;
  int64_t y_stride;

  GatedRows from(int row, int column) const {
    const int64_t x = row * x_stride + column;
    return {gate + x, up + x, x_stride, y + row * y_stride + column, y_stride};
  }
};

// 32 columns of R rows.
template <bool IS_GELU, int R> OCTAVO_INLINE void act_mul_columns(const GatedRows &rows) {
  constexpr int PER_ROW = CHUNK / PART_LANES, COUNT = R * PER_ROW;
  FloatPart x[COUNT];
  OCTAVO_EACH x[i] = load_part(rows.gate + i / PER_ROW * rows.x_stride + i % PER_ROW * PART_LANES);
  activate_each<IS_GELU>(x);
  OCTAVO_EACH {
    const int row = i / PER_ROW, column = i % PER_ROW * PART_LANES;
    store(rows.y + row * rows.y_stride + column,
          to_bf16(x[i] * load_part(rows.up + row * rows.x_stride + column)));
  }
}

// The columns behind the last 32 of one row.
template <bool IS_GELU> OCTAVO_INLINE void act_mul_rest(const GatedRows &row, int count) {
  float gate[CHUNK] = {}, up[CHUNK] = {};
  bf16 y[CHUNK];
  memcpy(gate, row.gate, sizeof(float) * count);
  memcpy(up, row.up, sizeof(float) * count);
  act_mul_columns<IS_GELU, 1>({gate, up, 0, y, 0});
  memcpy(row.y, y, sizeof(bf16) * count);
}

template <bool IS_GELU> OCTAVO_INLINE void act_mul(const GatedRows &rows, int num_rows, int width) {
  constexpr int R = PARTS == 1 ? 4 : 2; // as many as there are registers for
  for (int c = 0; c + CHUNK <= width; c += CHUNK) {
    int row = 0;
    for (; row + R <= num_rows; row += R)
      act_mul_columns<IS_GELU, R>(rows.from(row, c));
    for (; row < num_rows; row++)
      act_mul_columns<IS_GELU, 1>(rows.from(row, c));
  }
  if (const int rest = width % CHUNK)
    for (int row = 0; row < num_rows; row++)
      act_mul_rest<IS_GELU>(rows.from(row, width - rest), rest);
}

template <class Out>
OCTAVO_INLINE void scale_values(const float *x, Out *y, int width, const ScaleAttrs &attrs) {
  const float scale = (float)attrs.scale, cap = (float)attrs.softcap;
  each_part(y, width, [&](auto &&load, int c) {
    const FloatPart scaled = load(x, c) * scale;
    return cap != 0.0f ? softcap(scaled, cap) : scaled;
  });
}

// K and V of one token and head to their place among a slab's 16 tokens.
// K: [head_dim / 2][16 tokens][2], V: [8 pairs of tokens][head_dim][2].
void write_bf16_head(const bf16 *k, const bf16 *v, uint8_t *slab, int offset, int head_dim) {
  bf16 *keys = (bf16 *)slab;
  bf16 *values = keys + BLOCK_SIZE * head_dim + (offset / 2) * 2 * head_dim + offset % 2;
  for (int pair = 0; pair < head_dim / 2; pair++)
    memcpy(keys + 2 * (pair * BLOCK_SIZE + offset), k + 2 * pair, 2 * sizeof(bf16));
  for (int d = 0; d < head_dim; d++)
    values[2 * d] = v[d];
}

// The digits of 16 values.
struct Digits16 {
  IntPart parts[PARTS];

  OCTAVO_INLINE_MEMBER Digits16(const bf16 *x, const Scaling &scaling) {
    OCTAVO_EACH_PART parts[i] = digits_of(load_part(x + i * PART_LANES), scaling);
  }
};

// The digits of one token's head; returns their unit.
float quantize_head(const bf16 *x, int head_dim, int8_t *digits) {
  const Scaling scaling = scaling_of(largest_of(x, head_dim), INT8_DIGITS);
  for (int d = 0; d < head_dim; d += LANES)
    store(digits + d, to_bytes(Digits16(x + d, scaling).parts));
  return scaling.unit;
}

// K: [head_dim / 4][16 tokens][4], units of K, units of V: [16 tokens], V: [4 tokens by 4][head_dim][4].
void write_int8_head(const bf16 *k, const bf16 *v, uint8_t *slab, int offset, int head_dim) {
  int8_t digits[MAX_INT8_HEAD_DIM];
  float *units = (float *)(slab + BLOCK_SIZE * head_dim) + offset;
  units[0] = quantize_head(k, head_dim, digits);
  for (int d = 0; d < head_dim; d += 4)
    memcpy(slab + BLOCK_SIZE * d + 4 * offset, digits + d, 4);
  units[BLOCK_SIZE] = quantize_head(v, head_dim, digits);
  uint8_t *values = (uint8_t *)(units - offset + 2 * BLOCK_SIZE) + (offset / 4) * 4 * head_dim + offset % 4;
  for (int d = 0; d < head_dim; d++)
    values[4 * d] = (uint8_t)digits[d];
}

int32_t sum_of_bytes(i8x16 x) {
#if defined(__SSE2__)
  const __m128i halves = _mm_sad_epu8((__m128i)(x ^ (int8_t)-128), _mm_setzero_si128()); // + 128 of each byte
  return _mm_cvtsi128_si32(halves) + _mm_extract_epi16(halves, 4) - 16 * 128;
#else
  return tree_sum(__builtin_convertvector(x, i32x16));
#endif
}

void quantize_group(const bf16 *x, DigitGroup *group) {
  const i8x16 order = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
  const Scaling scaling = scaling_of(largest_of(x, CHUNK), INT8_DIGITS);
  for (int half = 0; half < 2; half++) {
    const i8x16 digits = to_bytes(Digits16(x + half * LANES, scaling).parts);
    store(group->digits + half * LANES, __builtin_shuffle(digits, order));
    group->sums[half] = sum_of_bytes(digits);
  }
  group->unit = scaling.unit;
  group->unit_sum = scaling.unit * (float)(group->sums[0] + group->sums[1]);
}

} // namespace

// x * (1 / sqrt(mean of squares + epsilon)) * weight of the stretches of a row.
void norm_row(const float *x, const float *weight, bf16 *y, const NormAttrs &attrs) {
  norm_groups(x, weight, y, attrs);
}
void norm_row_f32(const float *x, const float *weight, float *y, const NormAttrs &attrs) {
  norm_groups(x, weight, y, attrs);
}

// [q heads | k heads | v heads] of one row: of q and k the first rotary_dim dimensions rotated by
// (cos, sin)[rotary_dim / 2], the rest only rounded.
void rope_row(const float *x, bf16 *y, const float *cos, const float *sin, const RopeAttrs &attrs) {
  const int head_dim = attrs.head_dim, rotary_dim = attrs.rotary_dim, half = rotary_dim / 2;
  const int num_rotated = attrs.num_heads + attrs.num_kv_heads;
  const int step = attrs.is_interleaved ? 2 : 1, distance = attrs.is_interleaved ? 1 : half;
  for (int head = 0; head < num_rotated; head++, x += head_dim, y += head_dim) {
    for (int i = 0; i < half; i++) {
      float a = x[i * step], b = x[i * step + distance];
      y[i * step] = to_bf16(a * cos[i] - b * sin[i]);
      y[i * step + distance] = to_bf16(b * cos[i] + a * sin[i]);
    }
    for (int i = rotary_dim; i < head_dim; i++)
      y[i] = to_bf16(x[i]);
  }
  for (int i = 0; i < (int)attrs.num_kv_heads * head_dim; i++)
    y[i] = to_bf16(x[i]);
}

// What kv_write_row will write to: all lines of a head's keys, as each holds some dims of all tokens, and of
// its values those of the token's group.
void kv_fetch_row(uint8_t *block, int offset, int num_layers, KVFormat format, const KVWriteAttrs &attrs) {
  constexpr int LINE = 64;
  const int head_dim = attrs.head_dim;
  const KVLayout layout = kv_layout(format, head_dim);
  const bool is_int8 = format == KVFormat::INT8;
  const int group = offset / (is_int8 ? 4 : 2), group_bytes = 4 * head_dim;
  for (int head = 0; head < attrs.num_kv_heads; head++) {
    uint8_t *slab = block + layout.bytes() * (head * num_layers + attrs.layer);
    for (int64_t at = 0; at < layout.values_offset(); at += LINE)
      __builtin_prefetch(slab + at, 1);
    for (int at = 0; at < group_bytes; at += LINE)
      __builtin_prefetch(slab + layout.values_offset() + group * group_bytes + at, 1);
  }
}

void kv_write_row(const bf16 *rotated, uint8_t *block, int offset, int num_layers, KVFormat format,
                  const KVWriteAttrs &attrs) {
  const int head_dim = attrs.head_dim;
  const int64_t slab = kv_layout(format, head_dim).bytes();
  const bf16 *k = rotated + attrs.num_heads * head_dim;
  const bf16 *v = k + attrs.num_kv_heads * head_dim;
  for (int head = 0; head < attrs.num_kv_heads; head++, k += head_dim, v += head_dim) {
    uint8_t *target = block + slab * (head * num_layers + attrs.layer);
    if (format == KVFormat::INT8)
      write_int8_head(k, v, target, offset, head_dim);
    else
      write_bf16_head(k, v, target, offset, head_dim);
  }
}

// y = bf16(act(gate) * up) of rows [gate | up].
void act_mul_rows(const float *x, int64_t x_stride, bf16 *y, int64_t y_stride, int num_rows,
                  const ActMulAttrs &attrs) {
  const GatedRows rows = {x, x + attrs.width, x_stride, y, y_stride};
  if (attrs.is_gelu)
    act_mul<true>(rows, num_rows, (int)attrs.width);
  else
    act_mul<false>(rows, num_rows, (int)attrs.width);
}

void quantize_groups(const bf16 *x, DigitGroup *groups, int num_groups) {
  for (int g = 0; g < num_groups; g++)
    quantize_group(x + g * CHUNK, groups + g);
}

// The experts of largest logit, in order, ties to the lowest number; and e^(logit - largest) over the sum of
// all experts' or of the chosen.
void route_row(const float *logits, float *routes, const RouteAttrs &attrs) {
  const int count = attrs.num_experts, top_k = attrs.top_k;
  float *weights = routes + top_k;
  int chosen = -1; // the one before
  for (int rank = 0; rank < top_k; rank++) {
    int best = -1;
    for (int e = 0; e < count; e++) {
      const bool is_left =
          rank == 0 || logits[e] < logits[chosen] || (logits[e] == logits[chosen] && e > chosen);
      if (is_left && (best < 0 || logits[e] > logits[best]))
        best = e;
    }
    chosen = best < 0 ? rank : best; // logits that are no numbers: any expert will do
    routes[rank] = (float)chosen;
  }
  const float largest = logits[(int)routes[0]];
  for (int rank = 0; rank < top_k; rank++)
    weights[rank] = exp(splat(logits[(int)routes[rank]] - largest))[0];
  float total = weights[0];
  for (int rank = 1; rank < top_k && attrs.is_normalized; rank++)
    total = total + weights[rank];
  if (!attrs.is_normalized) {
    f32x16 lanes = {};
    for (int e = 0; e < count; e += LANES) {
      const int rest = count - e < LANES ? count - e : LANES;
      f32x16 powers = exp(load_up_to<f32x16>(logits + e, rest) - largest);
      lanes = lanes + (lane_index() < splat(rest) ? powers : f32x16{});
    }
    total = tree_sum(lanes);
  }
  for (int rank = 0; rank < top_k; rank++)
    weights[rank] = weights[rank] / total;
}

void combine_row(const float *const *rows, const float *weights, float *y, int width,
                 const CombineAttrs &attrs) {
  const float scale = (float)attrs.scale;
  each_part(y, width, [&](auto &&load, int c) {
    FloatPart sum = load(rows[0], c) * weights[0];
    for (int rank = 1; rank < attrs.top_k; rank++)
      sum = sum + load(rows[rank], c) * weights[rank];
    return load(y, c) + sum * scale;
  });
}

// x * scale, capped. y may be x.
void scale_row(const float *x, bf16 *y, int width, const ScaleAttrs &attrs) {
  scale_values(x, y, width, attrs);
}
void scale_row_f32(const float *x, float *y, int width, const ScaleAttrs &attrs) {
  scale_values(x, y, width, attrs);
}

} // namespace OCTAVO_KERNEL_NAMESPACE
