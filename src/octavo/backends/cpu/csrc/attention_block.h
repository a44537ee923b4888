// What attention on vectors and on tiles share: where a context lies, the softmax of a piece, and how pieces
// merge.
#pragma once
#include "vec16.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int PIECE = 256; // tokens, counted from position 0

// One row's one head on its way over the pieces.
struct Query {
  const bf16 *q;       // [head_dim]
  int64_t first, last; // the positions it sees
  bf16 *out;           // [head_dim]
  float *running;      // [head_dim] weighted values so far
  float best, total;   // maximum and sum so far

  bool sees(int64_t piece_start) const { return first < piece_start + PIECE && piece_start <= last; }
};

// Where one KV head of one layer lies in a block, and the sequence's blocks.
struct Context {
  const uint8_t *blocks;
  int64_t block_stride, slab_offset;
  int64_t values_offset; // bytes from keys to values
  const int32_t *table;
  int head_dim;
  int num_ahead;        // slabs (the keys, or the values, of a block) between fetching one and reading it
  int64_t first_block;  // that some query sees
  int64_t end_block;    // the first that no query sees
  float scale, softcap; // softcap 0 is none
  const Context *next;  // of what is computed afterwards, or null

  const uint8_t *keys(int64_t block) const { return blocks + table[block] * block_stride + slab_offset; }
  const uint8_t *values(int64_t block) const { return keys(block) + values_offset; }
  // Of int8, between a block's keys and values: [16 tokens] each.
  const float *key_units(const uint8_t *keys) const { return (const float *)(keys + BLOCK_SIZE * head_dim); }
  const float *value_units(const uint8_t *keys) const { return key_units(keys) + BLOCK_SIZE; }
};

// The part of a piece that some query of a batch sees: whole blocks. Blocks before it may be gone.
struct Piece {
  int64_t start; // position of the piece's first token
  int64_t first_block;
  int num_blocks;

  int num_tokens() const { return num_blocks * BLOCK_SIZE; }
  int64_t first_position() const { return first_block * BLOCK_SIZE; }
  int64_t block_after(int b) const { return first_block + (b + 1 < num_blocks ? b + 1 : b); }
};

// The slab to fetch while the keys, or the values, of a piece's block b are read: the slabs of a piece are
// its keys, then its values. Behind the last piece come the first keys of the next context.
OCTAVO_INLINE const uint8_t *ahead_of_keys(const Context &context, const Piece &piece, int b) {
  const int ahead = b + context.num_ahead;
  if (ahead < piece.num_blocks)
    return context.keys(piece.first_block + ahead);
  const int behind = ahead - piece.num_blocks;
  return context.values(piece.first_block + (behind < piece.num_blocks ? behind : piece.num_blocks - 1));
}
OCTAVO_INLINE const uint8_t *ahead_of_values(const Context &context, const Piece &piece, int b) {
  const int64_t ahead = piece.first_block + b + context.num_ahead;
  if (b + context.num_ahead < piece.num_blocks)
    return context.values(ahead);
  if (ahead < context.end_block)
    return context.keys(ahead);
  const Context *next = context.next;
  if (!next)
    return context.values(piece.first_block + b);
  const int64_t block = next->first_block + ahead - context.end_block;
  return next->keys(block < next->end_block ? block : next->first_block);
}

// first and last: the positions that some query of a batch sees.
OCTAVO_INLINE Piece piece_at(int64_t start, int64_t first, int64_t last) {
  const int64_t begin = (first > start ? first : start) / BLOCK_SIZE;
  const int64_t end = (last < start + PIECE ? last : start + PIECE - 1) / BLOCK_SIZE + 1;
  return {start, begin, (int)(end - begin)};
}

// The largest of a query's scores, which come without their scale; visible(t): of a part of them, from token
// t.
template <bool ALL_VISIBLE, class Visible>
OCTAVO_INLINE float largest_score(const float *dots, float scale, int num_tokens, Visible &&visible) {
  constexpr int CHAINS = 4; // a maximum waits for the one before it
  FloatPart largest[CHAINS][PARTS];
  for (auto &chain : largest)
    OCTAVO_EACH_PART chain[i] = -__builtin_inff() - FloatPart{};
  const auto see = [&](FloatPart(&chain)[PARTS], int first) {
    OCTAVO_EACH_PART {
      const int t = first + i * PART_LANES;
      const FloatPart s = load_part(dots + t) * scale;
      chain[i] = larger(chain[i], ALL_VISIBLE ? s : visible(t) ? s : chain[i]);
    }
  };
  int first = 0;
  for (; first + CHAINS * LANES <= num_tokens; first += CHAINS * LANES)
    for (int c = 0; c < CHAINS; c++)
      see(largest[c], first + c * LANES);
  for (; first < num_tokens; first += LANES)
    see(largest[0], first);
  for (int c = 1; c < CHAINS; c++)
    OCTAVO_EACH_PART largest[0][i] = larger(largest[0][i], largest[c][i]);
  return tree_max(joined(largest[0]));
}

// weigh(first, room) of COUNT blocks of a piece at a time, while so many are left. Returns where it ends.
template <int COUNT, class Weigh>
OCTAVO_INLINE int blocks_together(int first, int num_tokens, Weigh &&weigh) {
  for (; first + COUNT * LANES <= num_tokens; first += COUNT * LANES) {
    FloatPart room[COUNT * PARTS];
    weigh(first, room);
  }
  return first;
}

// Of one query and piece: the largest score, and the sum of all e^(s - best).
struct Softmax {
  float best, sum;
};

// From a query's scores, without their scale, to its weights e^(s - m), masked ones 0: all but tokens
// [begin, end). take(t, weights) stores those of a part and returns what counts of them; that is summed, lane
// by lane.
template <bool ALL_VISIBLE, class Take>
OCTAVO_INLINE Softmax weigh_tokens(const float *dots, float scale, int num_tokens, int32_t begin, int32_t end,
                                   Take &&take) {
  const auto visible = [=](int t) {
    const IntPart token = (IntPart)part_lane_index() + t;
    return (token < end) & (token >= begin);
  };
  const float m = largest_score<ALL_VISIBLE>(dots, scale, num_tokens, visible);
  FloatPart sum[PARTS] = {};
  const auto weigh = [&](int first, auto &p) {
    constexpr int COUNT = sizeof p / sizeof p[0];
    OCTAVO_EACH p[i] = load_part(dots + first + i * PART_LANES) * scale - m;
    exp_of_each(p);
    OCTAVO_EACH {
      const int t = first + i * PART_LANES;
      sum[i % PARTS] = sum[i % PARTS] + take(t, ALL_VISIBLE ? p[i] : visible(t) ? p[i] : FloatPart{});
    }
  };
  int first = 0;
  if (PARTS == 1) // there are registers for more
    first = blocks_together<8>(first, num_tokens, weigh);
  first = blocks_together<4>(first, num_tokens, weigh);
  blocks_together<1>(first, num_tokens, weigh);
  return {m, tree_sum(joined(sum))};
}

template <class Take>
OCTAVO_INLINE Softmax weigh(float *dots, float scale, const Context &context, const Piece &piece,
                            const Query &query, Take &&take) {
  const int num_tokens = piece.num_tokens();
  if (context.softcap != 0.0f) {
    for (int t = 0; t < num_tokens; t += LANES)
      store(dots + t, softcap(load<f32x16>(dots + t) * scale, context.softcap));
    scale = 1.0f;
  }
  const int32_t begin = (int32_t)(query.first - piece.first_position());
  const int32_t end = (int32_t)(query.last + 1 - piece.first_position());
  if (begin <= 0 && end >= num_tokens)
    return weigh_tokens<true>(dots, scale, num_tokens, begin, end, take);
  return weigh_tokens<false>(dots, scale, num_tokens, begin, end, take);
}

// Adds a piece to those of `count` queries, at most N, that see it. values: [count][head_dim], to which 0 is
// added, so that -0 becomes +0, however many of the blocks were all masked. The factors of all queries are
// computed together: one e^x waits for itself as long as several do.
template <int N>
OCTAVO_INLINE void merge(Query *queries, int count, const Piece &piece, const Softmax *softmax,
                         const float *values, int head_dim) {
  constexpr int COUNT = (2 * N + LANES - 1) / LANES * PARTS;
  float factors[COUNT * PART_LANES] = {}; // of what queries have so far, and from N on of what is added
  for (int n = 0; n < count; n++) {
    const float best = queries[n].best > softmax[n].best ? queries[n].best : softmax[n].best;
    factors[n] = queries[n].best - best;
    factors[N + n] = softmax[n].best - best;
  }
  FloatPart x[COUNT];
  memcpy(x, factors, sizeof x);
  exp_of_each(x);
  memcpy(factors, x, sizeof x);
  for (int n = 0; n < count; n++, values += head_dim) {
    Query &query = queries[n];
    if (!query.sees(piece.start))
      continue;
    const bool is_first = piece.start <= query.first;
    const float keep = factors[n], add = factors[N + n];
    query.best = is_first || softmax[n].best > query.best ? softmax[n].best : query.best;
    query.total = is_first ? softmax[n].sum : query.total * keep + softmax[n].sum * add;
    float *running = query.running;
    for (int d = 0; d < head_dim; d += LANES) {
      const f32x16 added = load<f32x16>(values + d) + 0.0f;
      store(running + d, is_first ? added : load<f32x16>(running + d) * keep + added * add);
    }
  }
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
