// What sampling knows of the request in each slot: its parameters, and what its tokens so far decide.
#pragma once
#include <cstdint>
#include <vector>

#include "capi.h"

namespace octavo {

class Sampler {
public:
  Sampler(int num_slots, int vocab_size) : slots_(num_slots), vocab_size_(vocab_size) {}

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
    std::vector<int32_t> suppressed, bad_words, bad_word_ends;
    std::vector<TokenBias> biases;
    std::vector<uint32_t> allowed;
    std::vector<TokenCount> counts; // ascending token ids
    std::vector<int32_t> recent;
    std::vector<int32_t> banned; // of the next token
  };

  void count(Slot &slot, int32_t token, bool is_output);
  void remember(Slot &slot, int32_t token);
  void find_banned(Slot &slot, int64_t position);

  std::vector<Slot> slots_;
  int vocab_size_;
};

} // namespace octavo
