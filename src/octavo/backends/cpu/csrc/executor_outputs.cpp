// What becomes of a step's output rows: logits for a range of them at a time, scored, pooled, or sampled.
#include "executor.h"
#include "float_mode.h"

#include <algorithm>
#include <cstring>

namespace octavo {

// Where the head begins.
void Executor::plan_head() {
  const auto is_head = [this](const Phase &phase) { return desc_.ops[phase.begin].kind == OpKind::GATHER; };
  const auto is_logits = [this](const Phase &phase) {
    return desc_.ops[phase.begin].output == desc_.logits_buffer;
  };
  num_body_phases_ = (int)(std::find_if(phases_.begin(), phases_.end(), is_head) - phases_.begin());
  logits_phase_ = (int)(std::find_if(phases_.begin(), phases_.end(), is_logits) - phases_.begin());
}

std::string Executor::check_outputs(const StepDesc &step) const {
  if (step.num_sampled > desc_.max_seqs || step.num_sampled + step.num_scored > step.num_outputs)
    return "more outputs are sampled than there are slots";
  for (int s = 0; s < step.num_outputs; s++) {
    if (step.output_row[s] < 0 || step.output_row[s] >= step.num_tokens || step.output_slot[s] < 0 ||
        step.output_slot[s] >= desc_.max_seqs)
      return "an output names a row or a slot that does not exist";
    const bool is_scored = s >= step.num_sampled && s < step.num_sampled + step.num_scored;
    if (is_scored && (step.target[s] < 0 || step.target[s] >= desc_.vocab_size))
      return "a token to be scored lies outside the vocabulary";
  }
  return "";
}

// Mostly all outputs are sampled: body and head are then one job. The logits of those that are sampled come
// last, because they stay in the buffer until then.
void Executor::run_outputs(const StepDesc &step) {
  sampled_.clear();
  first_sampled_.clear();
  for (int s = 0; s < step.num_sampled; s++) {
    sampled_.push_back(sampled_output(s));
    if (sampled_[s].draft < 0)
      first_sampled_.push_back(s);
  }
  const Range body = {0, num_body_phases_}, head = {num_body_phases_, (int32_t)phases_.size()};
  const Range sampled = {0, step.num_sampled};
  is_sampled_range_ = workspace_.num_head_items > 0 && step.num_outputs == step.num_sampled;
  if (step.num_outputs == step.num_sampled)
    return run_phases({body.begin, head.end}, sampled);
  run_phases(body, {});
  const int first_pooled = step.num_sampled + step.num_scored;
  for (int s = step.num_sampled; s < first_pooled; s += desc_.max_seqs) {
    run_phases(head, {s, std::min(s + desc_.max_seqs, first_pooled)});
    run_job(score_job, {}, true);
  }
  for (int s = first_pooled; s < step.num_outputs; s += desc_.max_seqs) {
    run_phases({head.begin, logits_phase_}, {s, std::min(s + desc_.max_seqs, step.num_outputs)});
    pool(head_range_);
  }
  is_sampled_range_ = workspace_.num_head_items > 0;
  if (step.num_sampled > 0)
    run_phases(head, sampled);
}

SampledOutput Executor::sampled_output(int output) const {
  const int32_t slot = step_.output_slot[output], mask_row = step_.mask_row[output];
  const int64_t position = (int64_t)positions_[step_.output_row[output]] + 1;
  const bool is_plain =
      workspace_.num_head_items > 0 && mask_row < 0 && sampler_.is_plain_greedy(slot, position);
  const bool is_draft = output > 0 && step_.output_slot[output - 1] == slot;
  const int32_t draft = is_draft ? step_.token_ids[step_.output_row[output]] : -1;
  return {slot, step_.num_logprobs[output], mask_row, position, is_plain, draft};
}

// An item of the head has been computed: of its columns only the largest matters to plain greedy rows.
void Executor::take_column_best(const LinearArgs &args, int item) {
  for (size_t s = 0; s < sampled_.size(); s++)
    if (sampled_[s].is_plain)
      column_best_[s * workspace_.num_head_items + item] = kernels_.best_of_item(args, item, (int)s);
}

// Items hold ascending columns, so that a tie goes to the lowest id.
int32_t Executor::greedy_token(int output) const {
  const ColumnBest *item = column_best_.data() + (size_t)output * workspace_.num_head_items, *best = item;
  for (int i = 0; i < workspace_.num_head_items; i++, item++) {
    if (item->column < 0)
      return item->column;
    best = item->value > best->value ? item : best;
  }
  return best->column;
}

void Executor::run_phases(Range phases, Range outputs) {
  phase_range_ = phases;
  head_range_ = outputs;
  run_job(forward_job, phases, true);
}

// What the head would read, as fp32.
void Executor::pool(Range outputs) {
  const int32_t buffer = desc_.ops[phases_[logits_phase_].begin].input;
  const int64_t width = desc_.buffers[buffer].width;
  float *out = results_.pooled + (outputs.begin - step_.num_sampled - step_.num_scored) * width;
  for (int row = 0; row < outputs.end - outputs.begin; row++)
    for (int64_t i = 0; i < width; i++) {
      const uint32_t bits = (uint32_t)bf16_row(buffer, row)[i] << 16;
      memcpy(out++, &bits, sizeof bits);
    }
}

void Executor::score_job(void *context, int thread) {
  Executor &self = *(Executor *)context;
  FloatMode mode;
  const Range range = self.head_range_;
  const auto score = [&](int row) {
    const int output = range.begin + row;
    self.score(output, row, self.step_.target[output], self.step_.num_logprobs[output]);
  };
  self.run_beside_phases([&] { return range.end - range.begin; }, score, thread);
}

// Writes a token that is to be reported with its logprobs to the results of an output.
void Executor::score(int output, int row, int32_t token, int32_t num_logprobs) {
  const int64_t top = (int64_t)output * results_.max_logprobs;
  const bool is_finite = kernels_.score_row({f32_row(desc_.logits_buffer, row), desc_.vocab_size, token,
                                             num_logprobs, results_.logprob + output, results_.rank + output,
                                             results_.top_ids + top, results_.top_logprobs + top});
  results_.token[output] = is_finite ? token : NOT_FINITE;
}

void Executor::sample(const ResultDesc &results, const uint32_t *masks) {
  results_ = results;
  masks_ = masks;
  clock_.start(results.phase_seconds, StepPhase::SAMPLING);
  const auto is_done = [](const SampledOutput &output) { return output.is_plain && output.num_logprobs < 0; };
  if (std::all_of(sampled_.begin(), sampled_.end(), is_done))
    for (int32_t first : first_sampled_)
      sample_slot(first, 0);
  else
    run_job(sample_job, {}, false);
  clock_.stop();
}

void Executor::sample_job(void *context, int thread) {
  Executor &self = *(Executor *)context;
  FloatMode mode;
  const auto sample = [&](int item) { self.sample_slot(self.first_sampled_[item], thread); };
  self.run_beside_phases([&] { return (int)self.first_sampled_.size(); }, sample, thread);
}

// A slot's outputs from its first on: a token after each draft that was right, and so long as there is one.
void Executor::sample_slot(int output, int thread) {
  const int32_t slot = sampled_[output].slot;
  int32_t token;
  do {
    sample_output(output, thread);
    token = results_.token[output++];
    if (token >= 0)
      sampler_.append(slot, token);
  } while (output < (int)sampled_.size() && sampled_[output].draft == token && token >= 0);
  for (; output < (int)sampled_.size() && sampled_[output].draft >= 0; output++)
    results_.token[output] = NOT_SAMPLED;
}

void Executor::sample_output(int s, int thread) {
  const SampledOutput &output = sampled_[s];
  int32_t token;
  if (output.is_plain) {
    token = greedy_token(s);
  } else {
    const int64_t mask_words = (desc_.vocab_size + 31) / 32;
    const uint32_t *mask = output.mask_row < 0 ? nullptr : masks_ + output.mask_row * mask_words;
    const SampleArgs args =
        sampler_.args(output.slot, f32_row(desc_.logits_buffer, s), output.position, mask);
    token = kernels_.sample_row(args, scratch(thread));
  }
  results_.token[s] = token < 0 && output.draft >= 0 ? NOT_SAMPLED : token;
  if (token >= 0 && output.num_logprobs >= 0)
    score(s, s, token, output.num_logprobs);
}

} // namespace octavo
