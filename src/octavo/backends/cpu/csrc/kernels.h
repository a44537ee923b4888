// What one instruction set's build offers to the executor: a table of plain functions over plain structs.
//
// Kernel sources are compiled once per instruction set, in namespace octavo::<isa>. They include no standard
// container and define nothing outside that namespace, so that the linker can never mix code of two builds.
// All arithmetic runs with denormals flushed (FTZ and DAZ), set by the caller, and in the one order that
// docs/exactness.md defines.
#pragma once
#include <cstddef>
#include <cstdint>

#include "ops.h"

namespace octavo {

constexpr int BLOCK_SIZE = 16;        // tokens in a KV block
constexpr int PANEL = 16;             // output columns in a weight panel
constexpr int CHUNK = 32;             // K elements in one even/odd pair of chains
constexpr int MAX_SCRATCH_ALIGN = 64; // every pointer into scratch and weights is aligned to this

constexpr int64_t num_groups(int64_t depth) { return (depth + CHUNK - 1) / CHUNK; }

using bf16 = uint16_t;

// How the weights of one linear layer lie in memory. Column n of the layer is row n of the matrix.
//   [panel of 16 columns][group of 32 k] -> one group: what unpack turns into 32 x 16 bf16
//   BF16  1024 B  16 pairs of k x 16 columns x (even k, odd k)
//   Q8_0   544 B  32 k x 16 columns x signed byte, then 16 f16 d               w = bf16(d * q)
//   Q4_0   288 B  digits of 4 bits, then 16 f16 d                              w = bf16(d * (q - 8))
//   Q4_1   320 B  digits of 4 bits, then 16 f16 d, 16 f16 m                    w = bf16(d * q + m)
//   Q5_0   352 B  digits of 5 bits, then 16 f16 d                              w = bf16(d * (q - 16))
//   Q5_1   384 B  digits of 5 bits, then 16 f16 d, 16 f16 m                    w = bf16(d * q + m)
//   Q4_K   288 B  digits of 4 bits, then 16 bytes s, 16 bytes t                w = bf16(d * s * q + m * t)
//   Q5_K   352 B  digits of 5 bits, then the same
//   Q6_K   416 B  digits of 6 bits, then 2 (halves of the 32 k) x 16 signed s  w = bf16(d * s * (q - 32))
// Digits are 4 x 16 columns x 8 nibbles (k ascending), then 16 columns x words of the bits above them: the
// bits of place p = 2 * (k / 8) + k % 2 begin at bit p * bits % 8 of byte k % 8 / 2 of word p * bits / 8.
// Eight groups of a K format share a header before them: 16 f16 d, and in Q4_K and Q5_K 16 f16 m.
// Columns beyond N and k beyond K are zero.
enum class WeightFormat : int32_t { BF16, Q8_0, Q4_1, Q4_0, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K };

// Activations as digits, in units of their own: 32 k of one row (docs/exactness.md). Of every eight k the
// digits stand as 0 2 4 6 1 3 5 7: as bytes of weights come out of their nibbles.
struct DigitGroup {
  int8_t digits[CHUNK];
  float unit, unit_sum; // unit_sum: unit * the sum of the digits
  int32_t sums[2];      // of digits of k 0 to 15 and 16 to 31
};

struct LinearWeight {
  const uint8_t *data;
  WeightFormat format;
  int32_t num_columns; // N
  int32_t depth;       // K
};

// y[m, n] = (sum over k of x[m, k] * w[n, k] + bias[n]) * scale, added to the old y[m, n] if has_residual.
// x: bf16 rows of x_stride elements (a multiple of 32, zero beyond K, 64-byte aligned), readable up to a
// multiple of 16 rows, where anything may stand beyond num_rows; y: fp32 rows of y_stride.
// digits: the same rows as digits, or null; weights other than BF16 are then multiplied by them and not by x.
struct LinearArgs {
  LinearWeight weight;
  const bf16 *x;
  int64_t x_stride;
  float *y;
  int64_t y_stride;
  int32_t num_rows;
  int32_t has_residual;
  float scale;
  const float *bias; // [num_columns], or null
  const DigitGroup *digits;
  int64_t digits_stride; // groups

  bool is_int8() const { return digits && weight.format != WeightFormat::BF16; }
};

// What a block of a KV group holds: [kv head][layer][K | V] of 16 tokens (models/program.py, KVGroup).
//   BF16  K [head_dim / 2][16 tokens][2 dims], V [8 pairs of tokens][head_dim][2 tokens]
//   INT8  digits and, of each token's K and of its V, a unit: K [head_dim / 4][16 tokens][4 dims],
//         16 fp32 units of K, 16 of V, V [4 fours of tokens][head_dim][4 tokens]
enum class KVFormat : int32_t { BF16, INT8 };

// Attention of rows [row_begin, row_end) of one request for one KV head: query row r (from the request's
// first row) is at first_position + r.
struct AttentionArgs {
  const AttentionAttrs *attrs;
  const bf16 *query;
  int64_t query_stride;
  bf16 *out;
  int64_t out_stride;
  int64_t first_position;
  const uint8_t *blocks;      // the KV group's memory
  int64_t block_stride;       // bytes
  int32_t num_layers;         // of the KV group
  KVFormat format;            // of the KV group
  const int32_t *block_table; // of the request
  int32_t kv_head, row_begin, row_end;
};

struct TokenBias {
  int32_t token;
  float bias;
};

// A token of a request's prompt or output, and how often it is in the output.
struct TokenCount {
  int32_t token;
  int32_t count;
};

// What is done to a row of logits before a token is sampled: bias, penalties, masks, in this order.
struct AdjustArgs {
  const TokenBias *biases;
  const TokenCount *counts; // of distinct tokens; read only with penalties
  const int32_t *banned;    // token ids that must not be sampled
  int32_t num_biases, num_counts, num_banned;
  float repetition_penalty, presence_penalty, frequency_penalty;
  const uint32_t *allowed[2]; // bitmasks over the vocabulary, or null: all

  bool is_identity() const {
    return num_biases == 0 && num_counts == 0 && num_banned == 0 && !allowed[0] && !allowed[1];
  }
};

struct SampleArgs {
  const float *logits; // [vocab_size], left as they are
  int32_t vocab_size;
  float temperature;
  int32_t top_k; // 0 or less keeps all
  double top_p;
  float min_p;
  uint64_t seed;
  int64_t branch;
  int64_t position; // of the token being sampled
  AdjustArgs adjust;
};

// Log probabilities of raw logits: of one token, with its rank, and of the num_top most probable ones.
struct ScoreArgs {
  const float *logits; // [vocab_size]
  int32_t vocab_size;
  int32_t token;
  int32_t num_top;
  float *logprob;
  int32_t *rank;
  int32_t *top_ids;    // [num_top]
  float *top_logprobs; // [num_top]
};

constexpr int32_t NOT_FINITE = -1;  // instead of a token: the row holds NaN or Inf
constexpr int32_t NO_TOKEN = -2;    // instead of a token: none is allowed
constexpr int32_t NOT_SAMPLED = -3; // instead of a token: a draft was wrong, or nothing can follow it

// The largest of some columns of a row and the lowest column that has it; NOT_FINITE when one is NaN or Inf.
struct ColumnBest {
  float value;
  int32_t column;
};

struct KernelTable {
  const char *name;

  // linear.cpp: a layer is cut into independent items; scratch is per thread.
  int (*linear_num_items)(const LinearArgs &);
  void (*linear_item)(const LinearArgs &, int item, uint8_t *scratch);
  // linear_int8.cpp: the same item where is_int8().
  void (*linear_int8_item)(const LinearArgs &, int item);
  // Of the columns that an item has written to a row.
  ColumnBest (*best_of_item)(const LinearArgs &, int item, int row);
  size_t (*linear_scratch_bytes)(int32_t depth);
  // One row of the matrix, expanded to bf16 and then fp32 (the embedding look-up): out[depth].
  void (*unpack_row)(const LinearWeight &, int32_t row, float *out);

  // rowwise.cpp: one row a call, but for activations. A pair differs in what the output buffer holds.
  void (*norm_row)(const float *x, const float *weight, bf16 *y, const NormAttrs &);
  void (*norm_row_f32)(const float *x, const float *weight, float *y, const NormAttrs &);
  void (*rope_row)(const float *x, bf16 *y, const float *cos, const float *sin, const RopeAttrs &);
  // offset: the row's place among the block's tokens. The memory that is written to can be fetched before.
  void (*kv_fetch_row)(uint8_t *block, int offset, int num_layers, KVFormat, const KVWriteAttrs &);
  void (*kv_write_row)(const bf16 *rotated, uint8_t *block, int offset, int num_layers, KVFormat,
                       const KVWriteAttrs &);
  void (*act_mul_rows)(const float *x, int64_t x_stride, bf16 *y, int64_t y_stride, int num_rows,
                       const ActMulAttrs &);
  // num_groups * 32 values of one row.
  void (*quantize_groups)(const bf16 *x, DigitGroup *groups, int num_groups);
  // Router logits of one row to [top_k expert numbers | top_k weights].
  void (*route_row)(const float *logits, float *routes, const RouteAttrs &);
  // y += scale * sum of weights[i] * rows[i], i ascending.
  void (*combine_row)(const float *const *rows, const float *weights, float *y, int width,
                      const CombineAttrs &);
  void (*scale_row)(const float *x, bf16 *y, int width, const ScaleAttrs &);
  void (*scale_row_f32)(const float *x, float *y, int width, const ScaleAttrs &);

  // attention.cpp; next: what this thread computes after it, if that is known, to fetch it in time.
  size_t (*attention_scratch_bytes)(int32_t head_dim, KVFormat);
  void (*attention_rows)(const AttentionArgs &, const AttentionArgs *next, uint8_t *scratch);

  // sample.cpp: the next token, or NOT_FINITE or NO_TOKEN.
  size_t (*sample_scratch_bytes)(int32_t vocab_size);
  int32_t (*sample_row)(const SampleArgs &, uint8_t *scratch);

  // logprobs.cpp: false, and nothing written, when the row holds NaN or Inf.
  bool (*score_row)(const ScoreArgs &);

  // Prepares and releases the calling thread (AMX tile configuration); called once per thread and step.
  void (*thread_begin)();
  void (*thread_end)();
};

} // namespace octavo
