#include "sampler.h"

#include <algorithm>

namespace octavo {

namespace {

// core/sampling_params.py
constexpr int MAX_LOGIT_BIAS = 1024, MAX_STOP_TOKEN_IDS = 1024, MAX_BAD_WORDS = 1024;
constexpr int MAX_BAD_WORD_TOKENS = 32;
constexpr int MAX_SUPPRESSED = 2 * MAX_STOP_TOKEN_IDS; // a request's own and the model's

int mask_words(int vocab_size) { return (vocab_size + 31) / 32; }

} // namespace

size_t Sampler::Slot::place(const ExecutorDesc &desc, uint8_t *memory) {
  size_t offset = 0;
  suppressed.place(memory, offset, MAX_SUPPRESSED);
  biases.place(memory, offset, MAX_LOGIT_BIAS);
  allowed.place(memory, offset, mask_words(desc.vocab_size));
  counts.place(memory, offset, std::min(desc.vocab_size, desc.max_model_len + 1));
  bad_word_ends.place(memory, offset, MAX_BAD_WORDS);
  recent.place(memory, offset, MAX_BAD_WORD_TOKENS);
  banned.place(memory, offset, MAX_SUPPRESSED + MAX_BAD_WORDS);
  bad_words.place(memory, offset, MAX_BAD_WORDS * MAX_BAD_WORD_TOKENS);
  return round_up(offset, 4096);
}

size_t Sampler::memory_bytes(const ExecutorDesc &desc) {
  return (size_t)desc.max_seqs * Slot().place(desc, nullptr);
}

Sampler::Sampler(const ExecutorDesc &desc)
    : memory_(memory_bytes(desc), Memory::Pages::SMALL), slots_(desc.max_seqs), vocab_size_(desc.vocab_size),
      max_model_len_(desc.max_model_len) {
  size_t offset = 0;
  for (Slot &slot : slots_)
    offset += slot.place(desc, memory_.data() + offset);
}

const char *Sampler::check(const AdmissionDesc &admission) const {
  if (admission.slot < 0 || admission.slot >= (int)slots_.size() || admission.num_tokens < 1 ||
      admission.num_tokens > max_model_len_)
    return "a request is admitted to no slot, or with no token, or is longer than max_model_len";
  if (admission.num_suppressed > MAX_SUPPRESSED || admission.num_biases > MAX_LOGIT_BIAS ||
      admission.num_bad_words > MAX_BAD_WORDS)
    return "a request suppresses, biases or bans more than a slot has room for";
  for (int w = 0, begin = 0; w < admission.num_bad_words; begin = admission.bad_word_ends[w++])
    if (admission.bad_word_ends[w] - begin < 1 || admission.bad_word_ends[w] - begin > MAX_BAD_WORD_TOKENS)
      return "a bad word has no token, or more than a slot has room for";
  const auto is_token = [this](int32_t id) { return id >= 0 && id < vocab_size_; };
  const int num_ids = admission.num_bad_words ? admission.bad_word_ends[admission.num_bad_words - 1] : 0;
  if (!std::all_of(admission.suppressed, admission.suppressed + admission.num_suppressed, is_token) ||
      !std::all_of(admission.bad_words, admission.bad_words + num_ids, is_token) ||
      !std::all_of(admission.biases, admission.biases + admission.num_biases,
                   [&](const TokenBias &bias) { return is_token(bias.token); }))
    return "a request suppresses, biases or bans what is no token";
  return "";
}

void Sampler::admit(const AdmissionDesc &admission) {
  Slot &slot = slots_[admission.slot];
  SampleArgs &args = slot.args;
  args = {};
  args.vocab_size = vocab_size_;
  args.temperature = admission.temperature;
  args.top_k = admission.top_k;
  args.top_p = admission.top_p;
  args.min_p = admission.min_p;
  args.seed = admission.seed;
  args.branch = admission.branch;
  args.adjust.repetition_penalty = admission.repetition_penalty;
  args.adjust.presence_penalty = admission.presence_penalty;
  args.adjust.frequency_penalty = admission.frequency_penalty;
  slot.has_penalties = admission.repetition_penalty != 1.0f || admission.presence_penalty != 0.0f ||
                       admission.frequency_penalty != 0.0f;
  slot.suppressed_until = admission.suppressed_until;
  slot.suppressed.assign(admission.suppressed, admission.num_suppressed);
  slot.biases.assign(admission.biases, admission.num_biases);
  slot.allowed.assign(admission.allowed, admission.allowed ? mask_words(vocab_size_) : 0);
  slot.bad_word_ends.assign(admission.bad_word_ends, admission.num_bad_words);
  const int num_ids = admission.num_bad_words ? admission.bad_word_ends[admission.num_bad_words - 1] : 0;
  slot.bad_words.assign(admission.bad_words, num_ids);
  slot.num_recent = 0;
  for (int w = 0, begin = 0; w < admission.num_bad_words; begin = admission.bad_word_ends[w++])
    slot.num_recent = std::max<size_t>(slot.num_recent, admission.bad_word_ends[w] - begin - 1);
  slot.counts.clear();
  slot.recent.clear();
  for (int t = 0; t < admission.num_tokens && (slot.has_penalties || slot.num_recent); t++) {
    const bool is_output = t >= admission.prompt_length;
    count(slot, admission.token_ids[t], is_output);
    if (is_output)
      remember(slot, admission.token_ids[t]);
  }
  slot.last_token = admission.token_ids[admission.num_tokens - 1];
}

void Sampler::append(int index, int32_t token) {
  Slot &slot = slots_[index];
  slot.last_token = token;
  count(slot, token, true);
  remember(slot, token);
}

void Sampler::count(Slot &slot, int32_t token, bool is_output) {
  if (!slot.has_penalties)
    return;
  TokenCount *at = std::lower_bound(slot.counts.begin(), slot.counts.end(), token,
                                    [](const TokenCount &entry, int32_t id) { return entry.token < id; });
  if (at == slot.counts.end() || at->token != token)
    slot.counts.insert(at - slot.counts.begin(), {token, 0});
  at->count += is_output;
}

void Sampler::remember(Slot &slot, int32_t token) {
  if (slot.num_recent == 0)
    return;
  if (slot.recent.size() == slot.num_recent)
    slot.recent.erase_first();
  slot.recent.push_back(token);
}

SampleArgs Sampler::args(int index, const float *logits, int64_t position, const uint32_t *mask) {
  Slot &slot = slots_[index];
  find_banned(slot, position);
  SampleArgs args = slot.args;
  args.logits = logits;
  args.position = position;
  args.adjust.biases = slot.biases.begin();
  args.adjust.num_biases = (int32_t)slot.biases.size();
  args.adjust.counts = slot.counts.begin();
  args.adjust.num_counts = (int32_t)slot.counts.size();
  args.adjust.banned = slot.banned.begin();
  args.adjust.num_banned = (int32_t)slot.banned.size();
  args.adjust.allowed[0] = slot.allowed.empty() ? nullptr : slot.allowed.begin();
  args.adjust.allowed[1] = mask;
  return args;
}

bool Sampler::is_plain_greedy(int index, int64_t position) const {
  const Slot &slot = slots_[index];
  const bool suppresses = position < slot.suppressed_until && !slot.suppressed.empty();
  return slot.args.temperature == 0.0f && !slot.has_penalties && !suppresses && slot.biases.empty() &&
         slot.allowed.empty() && slot.bad_word_ends.empty();
}

// The suppressed ids, and the last token of each bad word that the output ends in the others of.
void Sampler::find_banned(Slot &slot, int64_t position) {
  slot.banned.clear();
  if (position < slot.suppressed_until)
    slot.banned.assign(slot.suppressed.begin(), slot.suppressed.size());
  int begin = 0;
  for (int end : slot.bad_word_ends) {
    const size_t length = end - begin - 1;
    const int32_t *word = slot.bad_words.begin() + begin;
    if (length <= slot.recent.size() && std::equal(word, word + length, slot.recent.end() - length))
      slot.banned.push_back(word[length]);
    begin = end;
  }
}

} // namespace octavo
