// Attention over an int8 KV cache on AMX tiles: sixteen queries at once. A digit of a query or a weight is
// two bytes, 256 * high + low, both signed; each is multiplied with the bytes of keys or values, exactly.
#pragma once
#include "attention_amx.h"
#include "attention_int8_vector.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int TILE_DIMS = TILE_ROW_BYTES; // of keys in one multiplication

constexpr size_t int8_tile_scratch_bytes(size_t head_dim) {
  return TILE_BATCH *
             (2 * PIECE * (sizeof(int32_t) + 1) + 2 * MAX_TILE_HEAD_DIM + 2 * head_dim * sizeof(int32_t)) +
         PIECE * sizeof(float);
}

// The bytes of sixteen queries' digits, or of their weights: [16][stride] each.
struct Bytes {
  int8_t *high, *low;

  void store_digits(int64_t at, i32x16 digits) const {
    const i32x16 above = (digits + 128) >> 8;
    store(high + at, __builtin_convertvector(above, i8x16));
    store(low + at, __builtin_convertvector(digits - (above << 8), i8x16));
  }
};

// Sums of products with either byte: [16][stride] each.
struct Sums {
  int32_t *high, *low;

  f32x16 load_values(int64_t at) const {
    const i32x16 sum = (load<i32x16>(high + at) << 8) + load<i32x16>(low + at);
    return __builtin_convertvector(sum, f32x16);
  }
};

// Tiles 0-3: sums, or sums and the bytes of q; 4: keys; 5, 6: weights, 16 rows of 16 bytes; 7: values, 4 rows
// of four tokens.
void configure_int8_tiles() {
  TileConfig config;
  config.row_bytes[5] = config.row_bytes[6] = BLOCK_SIZE;
  config.rows[7] = BLOCK_SIZE / QUAD;
  config.load();
}

OCTAVO_INLINE void load_query_tiles(const Bytes &q, int dim) {
  _tile_loadd(2, q.high + dim, MAX_TILE_HEAD_DIM);
  _tile_loadd(3, q.low + dim, MAX_TILE_HEAD_DIM);
}

// Sums [query][token] of a piece. The last tile of keys may reach beyond them, where q is zero.
OCTAVO_INLINE void score_int8_piece(const Context &context, const Piece &piece, const Bytes &q,
                                    const Sums &sums, float *value_units) {
  const int head_dim = context.head_dim;
  const int64_t stride = sizeof(int32_t) * PIECE;
  load_query_tiles(q, 0);
  for (int b = 0; b < piece.num_blocks; b++) {
    const uint8_t *keys = context.keys(piece.first_block + b);
    const bool is_end = b + 1 == piece.num_blocks;
    const uint8_t *next = is_end ? context.values(piece.first_block) : context.keys(piece.block_after(b));
    for (int line = 0; line < head_dim / QUAD + 2; line++)
      __builtin_prefetch(next + 64 * line);
    _tile_zero(0);
    _tile_zero(1);
    for (int dim = 0; dim < head_dim; dim += TILE_DIMS) {
      if (head_dim > TILE_DIMS)
        load_query_tiles(q, dim);
      _tile_loadd(4, keys + BLOCK_SIZE * dim, 64);
      _tile_dpbssd(0, 2, 4);
      _tile_dpbssd(1, 3, 4);
    }
    _tile_stored(0, sums.high + b * BLOCK_SIZE, stride);
    _tile_stored(1, sums.low + b * BLOCK_SIZE, stride);
    store(value_units + b * BLOCK_SIZE, load<f32x16>(context.value_units(keys)));
  }
}

// Sums [query][head_dim] of a piece, 32 dims at a time.
OCTAVO_INLINE void value_int8_piece(const Context &context, const Piece &piece, const Bytes &weights,
                                    const Sums &sums) {
  const int head_dim = context.head_dim;
  const int64_t v_stride = QUAD * head_dim, stride = sizeof(int32_t) * head_dim;
  for (int dim = 0; dim < head_dim; dim += 2 * LANES) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int b = 0; b < piece.num_blocks; b++) {
      const uint8_t *values = context.values(piece.first_block + b) + QUAD * dim;
      const uint8_t *next = context.values(piece.block_after(b)) + QUAD * dim;
      for (int quad = 0; quad < BLOCK_SIZE / QUAD; quad++)
        for (int line = 0; line < 2; line++)
          __builtin_prefetch(next + v_stride * quad + 64 * line);
      _tile_loadd(5, weights.high + b * BLOCK_SIZE, PIECE);
      _tile_loadd(6, weights.low + b * BLOCK_SIZE, PIECE);
      _tile_loadd(7, values, v_stride);
      _tile_dpbssd(0, 5, 7);
      _tile_dpbssd(1, 6, 7);
      _tile_loadd(7, values + 64, v_stride);
      _tile_dpbssd(2, 5, 7);
      _tile_dpbssd(3, 6, 7);
    }
    _tile_stored(0, sums.high + dim, stride);
    _tile_stored(1, sums.low + dim, stride);
    _tile_stored(2, sums.high + dim + LANES, stride);
    _tile_stored(3, sums.low + dim + LANES, stride);
  }
}

// Adds one piece to up to sixteen queries. Rows of unused ones hold what an earlier batch left.
void attend_int8_on_tiles(const Context &context, const Piece &piece, Query *queries, int count,
                          uint8_t *scratch) {
  const int head_dim = context.head_dim;
  const Sums dots = {(int32_t *)scratch, (int32_t *)scratch + TILE_BATCH * PIECE};
  const Sums o = {dots.low + TILE_BATCH * PIECE, dots.low + TILE_BATCH * (PIECE + head_dim)};
  float *value_units = (float *)(o.low + TILE_BATCH * head_dim); // [PIECE]
  int8_t *bytes = (int8_t *)(value_units + PIECE);
  const Bytes weights = {bytes, bytes + TILE_BATCH * PIECE};
  const Bytes q = {weights.low + TILE_BATCH * PIECE, weights.low + TILE_BATCH * (PIECE + MAX_TILE_HEAD_DIM)};
  float scale[TILE_BATCH], unit[TILE_BATCH];
  Softmax softmax[TILE_BATCH];
  for (int n = 0; n < count; n++) {
    const Scaling scaling = scaling_of(largest_of(queries[n].q, head_dim), QUERY_DIGITS);
    for (int d = 0; d < MAX_TILE_HEAD_DIM; d += LANES)
      q.store_digits(n * MAX_TILE_HEAD_DIM + d,
                     d < head_dim ? digits_of(from_bf16(load<u16x16>(queries[n].q + d)), scaling) : i32x16{});
    scale[n] = scaling.unit * context.scale;
  }
  memory_barrier();
  score_int8_piece(context, piece, q, dots, value_units);
  memory_barrier();
  for (int n = 0; n < count; n++) {
    float *row = (float *)(dots.high + n * PIECE); // in place
    for (int b = 0; b < piece.num_blocks; b++) {
      const float *key_units = context.key_units(context.keys(piece.first_block + b));
      store(row + b * BLOCK_SIZE, dots.load_values(n * PIECE + b * BLOCK_SIZE) * load<f32x16>(key_units));
    }
    Scaling scaling;
    softmax[n] = weigh_int8(row, scale[n], context, piece, queries[n], value_units, &scaling);
    unit[n] = scaling.unit;
    for (int t = 0; t < piece.num_tokens(); t += LANES)
      weights.store_digits(n * PIECE + t, digits_of(load<f32x16>(row + t), scaling));
  }
  memory_barrier();
  value_int8_piece(context, piece, weights, o);
  memory_barrier();
  for (int n = 0; n < count; n++) {
    float *values = (float *)(o.high + n * head_dim); // in place
    for (int d = 0; d < head_dim; d += LANES)
      store(values + d, o.load_values(n * head_dim + d) * unit[n]);
  }
  merge<TILE_BATCH>(queries, count, piece, softmax, (const float *)o.high, head_dim);
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
