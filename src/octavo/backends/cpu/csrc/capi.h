// The plain C ABI between Python (ctypes, backends/cpu/library.py) and the native executor.
//
// Every call that can fail returns a status (0 is success) and writes a sentence into `error`. Nothing here
// keeps a pointer into a step's arrays after the call; weights and the program's arrays must outlive the
// executor.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels.h"

#define OCTAVO_API extern "C" __attribute__((visibility("default")))

namespace octavo {

constexpr int MAX_SEGMENTS = 4; // tensors stacked in one weight
constexpr int MAX_EXPERTS_PER_TOKEN = 64;

// What a buffer's rows hold; of DIGITS a DigitGroup for every 32 of its width.
enum class BufferFormat : int32_t { F32, BF16, DIGITS };

struct BufferDesc {
  int32_t is_per_output; // rows: outputs of the step, else tokens
  BufferFormat format;
  int64_t width;
  int64_t experts_per_token; // rows that a token has in a buffer of dispatched rows; 0 in others
};

struct WeightDesc {
  const float *vector; // a norm's weight or a bias, else null
  int32_t num_segments;
  LinearWeight segments[MAX_SEGMENTS]; // stacked: columns of the output from left to right
};

struct KVGroupDesc {
  int64_t num_layers;
  int64_t block_bytes;
  KVFormat format;
};

struct RopeTableDesc {
  const double *frequencies; // [num_pairs], radians per token
  double attention_factor;
  int64_t num_pairs;
};

struct OpDesc {
  OpKind kind;
  int32_t input;  // buffer, or -1
  int32_t routes; // buffer, or -1: of ops on experts
  int32_t digits; // buffer, or -1: of linear layers, what the input is as digits
  int32_t output; // buffer, or -1
  int32_t weight; // or -1
  int32_t bias;   // weight, or -1
  alignas(8) uint8_t attrs[MAX_ATTRIBUTE_BYTES];

  template <class Attrs> const Attrs &as() const { return *(const Attrs *)attrs; }
};

struct ExecutorDesc {
  const OpDesc *ops;
  const BufferDesc *buffers;
  const WeightDesc *weights;
  const KVGroupDesc *kv_groups;
  const RopeTableDesc *rope_tables;
  int32_t num_ops, num_buffers, num_kv_groups, num_rope_tables;
  int32_t vocab_size;
  int32_t logits_buffer;
  int32_t max_seqs, max_tokens, max_model_len;
  int32_t num_blocks, num_tier_blocks;
  int32_t num_threads;
};

// One request takes a slot: what sampling needs of it. Everything is copied.
struct AdmissionDesc {
  const int32_t *token_ids; // [num_tokens] prompt, then output
  const int32_t *suppressed;
  const TokenBias *biases;
  const uint32_t *allowed;      // bitmask over the vocabulary, or null
  const int32_t *bad_words;     // one behind the other
  const int32_t *bad_word_ends; // [num_bad_words]
  uint64_t seed;
  int64_t branch;
  int64_t suppressed_until; // position from which the suppressed ids may be sampled
  double top_p;
  int32_t slot, num_tokens, prompt_length;
  int32_t num_suppressed, num_biases, num_bad_words;
  int32_t top_k;
  float temperature, min_p;
  float repetition_penalty, presence_penalty, frequency_penalty;
};

// Outputs lie by kind: num_sampled, then num_scored, then those that are pooled.
struct StepDesc {
  const AdmissionDesc *admitted;
  const int32_t *copies;     // [num_copies][3] kind, source, destination
  const int32_t *new_blocks; // [num_new_blocks][4] slot, group, index, block
  const int32_t *slot;       // [num_requests]
  const int32_t *query_start;
  const int32_t *num_computed;
  const int32_t *token_ids;    // [num_tokens], -1: the slot's last sampled token
  const int32_t *output_row;   // [num_outputs]
  const int32_t *output_slot;  // [num_outputs]
  const int32_t *target;       // [num_outputs] the token to score
  const int32_t *num_logprobs; // [num_outputs] -1: none
  const int32_t *mask_row;     // [num_outputs] -1: none
  int32_t num_admitted, num_copies, num_new_blocks, num_requests, num_tokens, num_outputs;
  int32_t num_sampled, num_scored;
};

// Where a step's results go: memory of the caller.
struct ResultDesc {
  int32_t *token; // [num_outputs] NOT_FINITE, NO_TOKEN or NOT_SAMPLED where there is none
  float *logprob; // [num_outputs], as all that follow read and written only where logprobs are wanted
  int32_t *rank;
  int32_t *top_ids; // [num_outputs][max_logprobs]
  float *top_logprobs;
  float *pooled;         // [pooled outputs][hidden size]
  double *phase_seconds; // [StepPhase], added to
  int32_t max_logprobs;
};

// Bytes an executor holds besides weights and KV blocks.
struct WorkspaceBytes {
  int64_t buffers, scratch, rope_tables, lists; // touched from the start
  int64_t sampling;                             // for all slots; touched as requests use penalties and masks
};

} // namespace octavo

// The files that declare this ABI, as they were when the library was built: "path=SHA-256", comma-separated.
OCTAVO_API const char *octavo_built_from(void);

// The instruction set that runs by default here, and whether `isa` can run here.
OCTAVO_API const char *octavo_default_isa(void);
OCTAVO_API int octavo_has_isa(const char *isa);

OCTAVO_API void octavo_rope_table(int64_t num_positions, int32_t num_pairs, const double *frequencies,
                                  double attention_factor, float *cos, float *sin);

// What an executor would hold. Of the weights only kinds and shapes are read, of rotary tables only sizes.
// Returns 1 when `isa` cannot run here.
OCTAVO_API int octavo_executor_bytes(const octavo::ExecutorDesc *, const char *isa, octavo::WorkspaceBytes *);
OCTAVO_API void *octavo_executor_create(const octavo::ExecutorDesc *, const char *isa, char *error,
                                        size_t error_size);
OCTAVO_API void octavo_executor_destroy(void *executor);
// Applies the step's changes and runs the forward pass; scores and pools. The logits of the outputs that are
// sampled are then ready.
OCTAVO_API int octavo_executor_forward(void *executor, const octavo::StepDesc *, const octavo::ResultDesc *,
                                       char *error, size_t error_size);
// Samples the outputs of the last forward pass. masks: the rows that mask_row names, or null.
OCTAVO_API void octavo_executor_sample(void *executor, const octavo::ResultDesc *, const uint32_t *masks);
// Between steps: takes some memory for KV blocks that have not been used yet. 0: enough is taken.
OCTAVO_API int octavo_executor_touch_ahead(void *executor);
// A buffer of the last step, for tests and inspection: its rows start here, `stride` elements apart.
OCTAVO_API const void *octavo_executor_buffer(void *executor, int32_t buffer, int64_t *stride);
