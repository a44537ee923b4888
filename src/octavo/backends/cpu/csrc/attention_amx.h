// Attention on AMX tiles: sixteen queries at once, one multiplication per block and 32 dims for scores, one
// per block and 16 dims for values. A tile multiplication is a chunk (of 32 dims, or of a block's 16 tokens)
// in exactly the order that vectors follow, so this file holds no arithmetic of its own.
#pragma once
#include "attention_block.h"
#include "tiles.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int TILE_BATCH = TILE_ROWS;
constexpr int MAX_TILE_HEAD_DIM = 128; // four tiles of q, four of sums at a time

constexpr size_t tile_scratch_bytes(size_t head_dim) {
  return TILE_BATCH * (PIECE * (sizeof(float) + sizeof(bf16)) + head_dim * (sizeof(float) + sizeof(bf16)));
}

OCTAVO_INLINE bool fits_tiles(int head_dim) { return head_dim % CHUNK == 0 && head_dim <= MAX_TILE_HEAD_DIM; }

// Tiles 0-3: sums, or q; 4: dot products; 5: keys; 6: weights, 16 rows of 16 bf16; 7: values, 8 rows of token
// pairs.
void configure_tiles() {
  TileConfig config;
  config.row_bytes[6] = 2 * BLOCK_SIZE;
  config.rows[7] = BLOCK_SIZE / 2;
  config.load();
}

// dots[query][token] of a piece. q: [16][head_dim], packed.
OCTAVO_INLINE void score_piece(const Context &context, const Piece &piece, const bf16 *q, float *dots) {
  const int head_dim = context.head_dim, num_chunks = head_dim / CHUNK;
  const int64_t q_stride = sizeof(bf16) * head_dim, dots_stride = sizeof(float) * PIECE;
  _tile_loadd(0, q, q_stride);
  if (num_chunks > 1)
    _tile_loadd(1, q + CHUNK, q_stride);
  if (num_chunks > 2)
    _tile_loadd(2, q + 2 * CHUNK, q_stride);
  if (num_chunks > 3)
    _tile_loadd(3, q + 3 * CHUNK, q_stride);
  for (int b = 0; b < piece.num_blocks; b++) {
    const uint8_t *keys = context.keys(piece.first_block + b);
    const bool is_end = b + 1 == piece.num_blocks;
    const uint8_t *next = is_end ? context.values(piece.first_block) : context.keys(piece.block_after(b));
    for (int line = 0; line < head_dim / 2; line++)
      __builtin_prefetch(next + 64 * line);
    _tile_zero(4);
    _tile_loadd(5, keys, 64);
    _tile_dpbf16ps(4, 0, 5);
    if (num_chunks > 1) {
      _tile_loadd(5, keys + 1024, 64);
      _tile_dpbf16ps(4, 1, 5);
    }
    if (num_chunks > 2) {
      _tile_loadd(5, keys + 2048, 64);
      _tile_dpbf16ps(4, 2, 5);
    }
    if (num_chunks > 3) {
      _tile_loadd(5, keys + 3072, 64);
      _tile_dpbf16ps(4, 3, 5);
    }
    _tile_stored(4, dots + b * BLOCK_SIZE, dots_stride);
  }
}

// o[query][head_dim] of a piece, 64 dims (or the last 32) at a time.
OCTAVO_INLINE void value_piece(const Context &context, const Piece &piece, const bf16 *weights, float *o) {
  const int head_dim = context.head_dim;
  const int64_t v_stride = 4 * head_dim, o_stride = sizeof(float) * head_dim;
  for (int dim = 0; dim < head_dim; dim += 4 * LANES) {
    const bool is_whole = dim + 4 * LANES <= head_dim;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int b = 0; b < piece.num_blocks; b++) {
      const uint8_t *values = context.values(piece.first_block + b) + 4 * dim;
      const uint8_t *next = context.values(piece.block_after(b)) + 4 * dim;
      for (int pair = 0; pair < BLOCK_SIZE / 2; pair++)
        for (int line = 0; line < 4; line++)
          __builtin_prefetch(next + v_stride * pair + 64 * line);
      _tile_loadd(6, weights + b * BLOCK_SIZE, sizeof(bf16) * PIECE);
      _tile_loadd(7, values, v_stride);
      _tile_dpbf16ps(0, 6, 7);
      _tile_loadd(7, values + 64, v_stride);
      _tile_dpbf16ps(1, 6, 7);
      if (is_whole) {
        _tile_loadd(7, values + 128, v_stride);
        _tile_dpbf16ps(2, 6, 7);
        _tile_loadd(7, values + 192, v_stride);
        _tile_dpbf16ps(3, 6, 7);
      }
    }
    _tile_stored(0, o + dim, o_stride);
    _tile_stored(1, o + dim + LANES, o_stride);
    if (is_whole) {
      _tile_stored(2, o + dim + 2 * LANES, o_stride);
      _tile_stored(3, o + dim + 3 * LANES, o_stride);
    }
  }
}

// Weights rounded to bf16.
OCTAVO_INLINE FloatPart take_bf16(bf16 *to, FloatPart weights) {
#if defined(__AVX512BF16__) // none is a denormal, which it would flush
  const HalvesPart bits = (HalvesPart)_mm512_cvtneps_pbh((__m512)weights);
  store(to, bits);
  return (FloatPart)(__builtin_convertvector(bits, BitsPart) << 16);
#else
  const BitsPart bits = round_number_to_bf16_bits((BitsPart)weights);
  store(to, __builtin_convertvector(bits, HalvesPart));
  return (FloatPart)(bits << 16);
#endif
}

// Adds one piece to up to sixteen queries. Rows of unused ones hold what
// an earlier batch left: tiles keep rows apart.
void attend_on_tiles(const Context &context, const Piece &piece, Query *queries, int count,
                     uint8_t *scratch) {
  const int head_dim = context.head_dim;
  float *dots = (float *)scratch;                      // [16][PIECE]
  float *o = dots + TILE_BATCH * PIECE;                // [16][head_dim]
  bf16 *weights = (bf16 *)(o + TILE_BATCH * head_dim); // [16][PIECE]
  bf16 *q = weights + TILE_BATCH * PIECE;              // [16][head_dim]
  for (int n = 0; n < count; n++)
    memcpy(q + n * head_dim, queries[n].q, sizeof(bf16) * head_dim);
  memory_barrier();
  score_piece(context, piece, q, dots);
  memory_barrier();
  Softmax softmax[TILE_BATCH];
  for (int n = 0; n < count; n++) {
    bf16 *row = weights + n * PIECE;
    const auto take = [row](int t, FloatPart weights) { return take_bf16(row + t, weights); };
    softmax[n] = weigh(dots + n * PIECE, context.scale, context, piece, queries[n], take);
  }
  memory_barrier();
  value_piece(context, piece, weights, o);
  memory_barrier();
  merge<TILE_BATCH>(queries, count, piece, softmax, o, head_dim);
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
