// What sampling knows of the request in each slot: its parameters, and what its tokens so far decide.
#pragma once
#include <cstdint>
#include <vector>

#include "capi.h"
#include "memory.h"

namespace octavo {

class Sampler {
public:
  explicit Sampler(const ExecutorDesc &desc);

  // For all slots' lists at their longest; a page is taken when a request first needs it.
  static size_t memory_bytes(const ExecutorDesc &desc);
  // An empty string when a request's lists fit into its slot, else why they do not.
  const char *check(const AdmissionDesc &admission) const;
  void admit(const AdmissionDesc &admission);
  int32_t last_token(int slot) const { return slots_[slot].last_token; }
  // How the slot's token at a position is sampled from a row of logits; mask may be null. Valid until the
  // next call for the slot.
  SampleArgs args(int slot, const float *logits, int64_t position, const uint32_t *mask);
  // Whether the slot's token at a position is the largest raw logit, but for a mask.
  bool is_plain_greedy(int slot, int64_t position) const;
  // The slot's request has one token more.
  void append(int slot, int32_t token);

private:
  struct Slot {
    SampleArgs args{}; // but for logits, position and what the lists below hold
    int64_t suppressed_until = 0;
    int32_t last_token = 0;
    bool has_penalties = false;
    size_t num_recent = 0; // output tokens that bad words look back on
    FixedList<int32_t> suppressed, bad_words, bad_word_ends;
    FixedList<TokenBias> biases;
    FixedList<uint32_t> allowed;
    FixedList<TokenCount> counts; // ascending token ids
    FixedList<int32_t> recent;
    FixedList<int32_t> banned; // of the next token

    size_t place(const ExecutorDesc &desc, uint8_t *memory); // bytes
  };

  void count(Slot &slot, int32_t token, bool is_output);
  void remember(Slot &slot, int32_t token);
  void find_banned(Slot &slot, int64_t position);

  Memory memory_;
  std::vector<Slot> slots_;
  int vocab_size_, max_model_len_;
};

} // namespace octavo
