// Causal attention of one KV head over paged KV, in the order of docs/exactness.md: pieces of 256 tokens,
// merged in ascending order; within a piece a chain pair per 32 dims for scores and per block of 16 tokens
// for values.
//
// A query is one row's one head. Queries that share the KV head are taken up to four at a time, so that a
// block is read and expanded once for all of them. What a query yields does not depend on its neighbours.
#include "vec16.h"

namespace OCTAVO_KERNEL_NAMESPACE {

constexpr int PIECE = 256;   // tokens, counted from position 0
constexpr int MAX_BATCH = 4; // queries in registers at once

namespace {

struct Query {
  const float *q;    // [head_dim] expanded
  int64_t last;      // the last position it sees
  float best, total; // running maximum and sum
  float *out;        // [head_dim] running weighted values
};

// Where one KV head of one layer lies in a block, and the sequence's blocks.
struct Context {
  const uint8_t *blocks;
  int64_t block_stride, slab_offset;
  const int32_t *table;
  int head_dim;
  float scale;

  const uint8_t *keys(int64_t block) const { return blocks + table[block] * block_stride + slab_offset; }
  const uint8_t *values(int64_t block) const { return keys(block) + 2 * BLOCK_SIZE * head_dim; }
};

// scores[n][token] of one block: per 32 dims an even and an odd chain.
template <int N>
OCTAVO_INLINE void score_block(const Context &context, int64_t block, const Query *queries, float *scores) {
  const uint8_t *keys = context.keys(block);
  const int num_pairs = context.head_dim / 2;
  f32x16 total[N] = {};
  for (int first = 0; first < num_pairs; first += CHUNK / 2) {
    f32x16 even[N] = {}, odd[N] = {};
    const int end = first + CHUNK / 2 < num_pairs ? first + CHUNK / 2 : num_pairs;
    for (int pair = first; pair < end; pair++) {
      u32x16 k = load<u32x16>(keys + 64 * pair);
      for (int n = 0; n < N; n++) {
        even[n] = fma(even_of(k), splat(queries[n].q[2 * pair]), even[n]);
        odd[n] = fma(odd_of(k), splat(queries[n].q[2 * pair + 1]), odd[n]);
      }
    }
    for (int n = 0; n < N; n++)
      total[n] = total[n] + (even[n] + odd[n]);
  }
  for (int n = 0; n < N; n++)
    store(scores + n * PIECE, total[n] * context.scale);
}

// Turns a query's scores of a piece into weights bf16(e^(s - m)), masked ones 0, and returns their sum and m.
OCTAVO_INLINE float weigh(float *scores, int num_tokens, int64_t num_visible, float *piece_best) {
  f32x16 best = splat(-__builtin_inff());
  for (int t = 0; t < num_tokens; t += LANES) {
    i32x16 visible = lane_index() < splat((int32_t)(num_visible - t));
    f32x16 s = load<f32x16>(scores + t);
    best = maximum(best, visible ? s : best);
  }
  float m = tree_max(best);
  f32x16 sum = {};
  for (int t = 0; t < num_tokens; t += LANES) {
    i32x16 visible = lane_index() < splat((int32_t)(num_visible - t));
    f32x16 weight = as_float(round_to_bf16_bits(exp(load<f32x16>(scores + t) - m)) << 16);
    weight = visible ? weight : f32x16{};
    store(scores + t, weight);
    sum = sum + weight;
  }
  *piece_best = m;
  return tree_sum(sum);
}

// o[n][16 dims] of a piece: per block an even and an odd chain over its tokens.
template <int N>
OCTAVO_INLINE void weigh_values(const Context &context, int64_t first_block, int num_blocks,
                                const float *weights, int dim, f32x16 *o) {
  for (int n = 0; n < N; n++)
    o[n] = f32x16{};
  for (int b = 0; b < num_blocks; b++) {
    const uint8_t *values = context.values(first_block + b) + 4 * dim;
    f32x16 even[N] = {}, odd[N] = {};
    for (int pair = 0; pair < BLOCK_SIZE / 2; pair++) {
      u32x16 v = load<u32x16>(values + (int64_t)4 * context.head_dim * pair);
      for (int n = 0; n < N; n++) {
        const float *w = weights + n * PIECE + b * BLOCK_SIZE + 2 * pair;
        even[n] = fma(splat(w[0]), even_of(v), even[n]);
        odd[n] = fma(splat(w[1]), odd_of(v), odd[n]);
      }
    }
    for (int n = 0; n < N; n++)
      o[n] = o[n] + (even[n] + odd[n]);
  }
}

// Adds a piece's (m, sum, o) to the query's running values.
OCTAVO_INLINE void merge(Query &query, bool is_first, float m, float sum, const float *o, int head_dim) {
  if (is_first) {
    query.best = m;
    query.total = sum;
    memcpy(query.out, o, sizeof(float) * head_dim);
    return;
  }
  float best = query.best > m ? query.best : m;
  f32x16 factors = exp(f32x16{query.best - best, m - best});
  float keep = factors[0], add = factors[1];
  query.best = best;
  query.total = query.total * keep + sum * add;
  for (int d = 0; d < head_dim; d++)
    query.out[d] = query.out[d] * keep + o[d] * add;
}

template <int N> void attend(const Context &context, Query *queries, float *scratch) {
  float *scores = scratch;             // [N][PIECE]
  float *values = scratch + N * PIECE; // [N][head_dim]
  const int head_dim = context.head_dim;
  int64_t last = 0;
  for (int n = 0; n < N; n++)
    last = queries[n].last > last ? queries[n].last : last;
  for (int64_t start = 0; start <= last; start += PIECE) {
    const int64_t first_block = start / BLOCK_SIZE;
    const int64_t rest = last / BLOCK_SIZE - first_block + 1;
    const int num_blocks = rest < PIECE / BLOCK_SIZE ? rest : PIECE / BLOCK_SIZE;
    for (int b = 0; b < num_blocks; b++)
      score_block<N>(context, first_block + b, queries, scores + b * BLOCK_SIZE);
    float best[N], sum[N];
    for (int n = 0; n < N; n++)
      sum[n] = weigh(scores + n * PIECE, num_blocks * BLOCK_SIZE, queries[n].last + 1 - start, &best[n]);
    for (int dim = 0; dim < head_dim; dim += LANES) {
      f32x16 o[N];
      weigh_values<N>(context, first_block, num_blocks, scores, dim, o);
      for (int n = 0; n < N; n++)
        store(values + n * head_dim + dim,
              o[n] + 0.0f); // + 0 turns -0 into +0, however many blocks were masked
    }
    for (int n = 0; n < N; n++)
      if (queries[n].last >= start)
        merge(queries[n], start == 0, best[n], sum[n], values + n * head_dim, head_dim);
  }
}

void finish(const Query &query, bf16 *out, int head_dim) {
  for (int d = 0; d < head_dim; d += LANES)
    store(out + d, to_bf16(load<f32x16>(query.out + d) / query.total));
}

} // namespace

size_t attention_scratch_bytes(int32_t head_dim) {
  return sizeof(float) * MAX_BATCH * (PIECE + 3 * (size_t)head_dim);
}

// Rows [row_begin, row_end) of one request for one KV head.
void attention_rows(const AttentionArgs &args, int kv_head, int row_begin, int row_end, uint8_t *scratch) {
  const AttentionAttrs &attrs = *args.attrs;
  const int head_dim = attrs.head_dim, group = attrs.num_heads / attrs.num_kv_heads;
  const int64_t slab = (int64_t)2 * BLOCK_SIZE * head_dim; // bytes of K, and of V
  const Context context = {
      args.blocks,      args.block_stride, 2 * slab * (kv_head * args.num_layers + attrs.layer),
      args.block_table, head_dim,          (float)attrs.scale};
  float *expanded = (float *)scratch;               // [MAX_BATCH][head_dim]
  float *running = expanded + MAX_BATCH * head_dim; // [MAX_BATCH][head_dim]
  float *work = running + MAX_BATCH * head_dim;
  const int num_queries = (row_end - row_begin) * group;
  for (int first = 0; first < num_queries; first += MAX_BATCH) {
    const int count = num_queries - first < MAX_BATCH ? num_queries - first : MAX_BATCH;
    Query queries[MAX_BATCH];
    bf16 *out[MAX_BATCH];
    for (int n = 0; n < count; n++) {
      const int row = row_begin + (first + n) / group, head = kv_head * group + (first + n) % group;
      const bf16 *q = args.query + row * args.query_stride + head * head_dim;
      for (int d = 0; d < head_dim; d += LANES)
        store(expanded + n * head_dim + d, from_bf16(load<u16x16>(q + d)));
      queries[n] = {expanded + n * head_dim, args.first_position + row, 0.0f, 0.0f, running + n * head_dim};
      out[n] = args.out + row * args.out_stride + head * head_dim;
    }
    switch (count) {
    case 1:
      attend<1>(context, queries, work);
      break;
    case 2:
      attend<2>(context, queries, work);
      break;
    case 3:
      attend<3>(context, queries, work);
      break;
    default:
      attend<4>(context, queries, work);
      break;
    }
    for (int n = 0; n < count; n++)
      finish(queries[n], out[n], head_dim);
  }
}

} // namespace OCTAVO_KERNEL_NAMESPACE
