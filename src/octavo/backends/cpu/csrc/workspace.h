// What an executor's memory is made of, by arithmetic alone: a plan can be printed before anything is
// allocated, and the executor allocates by the same numbers.
#pragma once
#include <vector>

#include "capi.h"

namespace octavo {

struct BufferPlace {
  size_t offset;  // into the memory of all buffers
  int64_t stride; // elements between rows
};

// A request's rows in a step that one attention item computes.
struct AttentionTile {
  int32_t request, row_begin, row_end;
};

// An output that is sampled, kept until then.
struct SampledOutput {
  int32_t slot, num_logprobs, mask_row;
  int64_t position; // of the token
  bool is_plain;    // the largest logit, taken from the head's items
  int32_t draft;    // that its row computes; -1: it is the row of the slot's last token
};

// Gate and up of so many columns are computed by one item, which keeps their sums in scratch: rows of
// [gate | up], an odd number of cache lines apart.
constexpr int GATED_COLUMNS = 32, GATED_STRIDE = 2 * GATED_COLUMNS + 16;

static_assert(GATED_COLUMNS == CHUNK, "what such an item activates is one group of digits");

// Whether op is a LINEAR whose every stretch of gate, with that of up, can be activated as it is computed.
bool is_gated(const ExecutorDesc &desc, int op);

struct Workspace {
  Workspace(const ExecutorDesc &desc, const KernelTable &kernels);

  std::vector<BufferPlace> buffers;
  size_t buffer_bytes;
  size_t scratch_bytes; // of one thread
  size_t gated_offset;  // into a thread's scratch: what gated phases keep beside their linear layers'
  size_t rope_bytes;    // of all tables
  int64_t blocks_per_slot;
  int64_t block_bytes;    // of all KV groups: as large as the largest group's
  int32_t num_head_items; // 0 where the head is not the last op: then logits still change
  size_t list_bytes;      // block tables, and lists over a step's rows, outputs and experts

  WorkspaceBytes bytes(const ExecutorDesc &desc) const;
};

} // namespace octavo
