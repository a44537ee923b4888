// Causal attention of one KV head over paged KV, in the order of docs/exactness.md: pieces of 256 tokens,
// merged in ascending order; within a piece, of bf16, a chain pair per 32 dims for scores and per block of
// 16 tokens for values; of int8, sums of integers.
//
// Queries (one row's one head) that share the KV head are taken in batches. What a query yields does not
// depend on the others in its batch, nor on whether vectors or tiles computed it.
#include "attention_int8_vector.h"
#include "attention_vector.h"
#include "entries.h"
#include "kv_layout.h"
#include "linear.h"
#if defined(OCTAVO_ISA_amx)
#include "attention_int8_amx.h"
#endif

namespace OCTAVO_KERNEL_NAMESPACE {

namespace {

constexpr int MAX_QUERIES = 128;    // taken over a context at once
constexpr int MIN_TILE_QUERIES = 6; // measured: fewer are faster on vectors
constexpr int BYTES_AHEAD = 8192;   // of a context, between fetching and reading: what memory takes to answer

#if !defined(OCTAVO_ISA_amx)
constexpr int TILE_BATCH = 0;
constexpr size_t tile_scratch_bytes(size_t) { return 0; }
constexpr size_t int8_tile_scratch_bytes(size_t) { return 0; }
OCTAVO_INLINE bool fits_tiles(int) { return false; }
OCTAVO_INLINE void configure_tiles() {}
OCTAVO_INLINE void configure_int8_tiles() {}
OCTAVO_INLINE void attend_on_tiles(const Context &, const Piece &, Query *, int, uint8_t *) {}
OCTAVO_INLINE void attend_int8_on_tiles(const Context &, const Piece &, Query *, int, uint8_t *) {}
#endif

// How a piece of a KV group is added to `count` queries, by what its blocks hold.
struct Cache {
  using Attend = void(const Context &, const Piece &, Query *, int count, uint8_t *scratch);
  void (*configure)(); // the tiles
  Attend *on_tiles, *on_vectors;
  int vector_batch; // queries at most on vectors
};

constexpr Cache CACHE_OF_BF16 = {configure_tiles, attend_on_tiles, attend_batch, VECTOR_BATCH};
constexpr Cache CACHE_OF_INT8 = {configure_int8_tiles, attend_int8_on_tiles, attend_int8_batch<>,
                                 INT8_VECTOR_BATCH};

void finish(const Query &query, int head_dim) {
  for (int d = 0; d < head_dim; d += LANES)
    store(query.out + d, to_bf16(load<f32x16>(query.running + d) / query.total));
}

// Pieces outside, batches inside: a piece is read from memory once for all queries of an item, and then from
// the cache.
void attend(const Cache &cache, const Context &context, Query *queries, int count, uint8_t *scratch) {
  const bool on_tiles = count >= MIN_TILE_QUERIES && fits_tiles(context.head_dim);
  const int batch = on_tiles ? TILE_BATCH : cache.vector_batch;
  Cache::Attend *const attend_piece = on_tiles ? cache.on_tiles : cache.on_vectors;
  if (on_tiles)
    cache.configure();
  // Queries are in order of position: of a batch the first sees the earliest token, the last the latest.
  for (int64_t start = queries[0].first / PIECE * PIECE; start <= queries[count - 1].last; start += PIECE)
    for (int n = 0; n < count; n += batch) {
      const int size = count - n < batch ? count - n : batch;
      const int64_t first = queries[n].first, last = queries[n + size - 1].last;
      if (last < start || start + PIECE <= first)
        continue;
      attend_piece(context, piece_at(start, first, last), queries + n, size, scratch);
    }
  if (on_tiles)
    thread_begin(); // the tiles of linear layers again
}

size_t larger(size_t a, size_t b) { return a > b ? a : b; }

int64_t first_seen(const AttentionAttrs &attrs, int64_t position) {
  return attrs.window && position >= attrs.window ? position - attrs.window + 1 : 0;
}

Context context_of(const AttentionArgs &args) {
  const AttentionAttrs &attrs = *args.attrs;
  const KVLayout layout = kv_layout(args.format, (int)attrs.head_dim);
  return {args.blocks,
          args.block_stride,
          layout.bytes() * (args.kv_head * args.num_layers + attrs.layer),
          layout.values_offset(),
          args.block_table,
          (int)attrs.head_dim,
          (int)larger(BYTES_AHEAD / layout.keys_bytes, 1),
          first_seen(attrs, args.first_position + args.row_begin) / BLOCK_SIZE,
          (args.first_position + args.row_end - 1) / BLOCK_SIZE + 1,
          (float)attrs.scale,
          (float)attrs.softcap,
          nullptr};
}

} // namespace

size_t attention_scratch_bytes(int32_t head_dim, KVFormat format) {
  const size_t work = format == KVFormat::INT8
                          ? larger(int8_vector_scratch_bytes(head_dim), int8_tile_scratch_bytes(head_dim))
                          : larger(vector_scratch_bytes(head_dim), tile_scratch_bytes(head_dim));
  return sizeof(float) * MAX_QUERIES * head_dim + work;
}

void attention_rows(const AttentionArgs &args, const AttentionArgs *next, uint8_t *scratch) {
  const Cache &cache = args.format == KVFormat::INT8 ? CACHE_OF_INT8 : CACHE_OF_BF16;
  const AttentionAttrs &attrs = *args.attrs;
  const int head_dim = attrs.head_dim, group = attrs.num_heads / attrs.num_kv_heads;
  Context context = context_of(args), next_context;
  if (next) {
    next_context = context_of(*next);
    context.next = &next_context;
  }
  float *running = (float *)scratch; // [MAX_QUERIES][head_dim]
  uint8_t *work = scratch + sizeof(float) * MAX_QUERIES * head_dim;
  const int num_queries = (args.row_end - args.row_begin) * group;
  for (int first = 0; first < num_queries; first += MAX_QUERIES) {
    const int count = num_queries - first < MAX_QUERIES ? num_queries - first : MAX_QUERIES;
    Query queries[MAX_QUERIES];
    for (int n = 0; n < count; n++) {
      const int row = args.row_begin + (first + n) / group, head = args.kv_head * group + (first + n) % group;
      const int64_t position = args.first_position + row;
      queries[n] = {args.query + row * args.query_stride + head * head_dim,
                    first_seen(attrs, position),
                    position,
                    args.out + row * args.out_stride + head * head_dim,
                    running + n * head_dim,
                    0.0f,
                    0.0f};
    }
    attend(cache, context, queries, count, work);
    for (int n = 0; n < count; n++)
      finish(queries[n], head_dim);
  }
}

} // namespace OCTAVO_KERNEL_NAMESPACE
