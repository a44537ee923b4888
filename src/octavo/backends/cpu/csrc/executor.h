// Runs a program: one call per step on a persistent team, dynamic items per op. Nothing is allocated after
// construction.
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "capi.h"
#include "items.h"
#include "memory.h"
#include "sampler.h"
#include "step_clock.h"
#include "team.h"
#include "workspace.h"

namespace octavo {

class Executor {
public:
  Executor(const ExecutorDesc &desc, const KernelTable &kernels);

  // Checks a step against the limits; an empty string when it can run.
  std::string check(const StepDesc &step) const;
  void forward(const StepDesc &step, const ResultDesc &results);
  void sample(const ResultDesc &results, const uint32_t *masks);
  // Between steps: takes some memory for blocks that have not been used. False: as much is taken as has been
  // used, and LEAST_AHEAD at least.
  bool touch_ahead();
  const void *buffer(int32_t index, int64_t *stride) const;

private:
  // What is done before the next begins: ops [begin, end), which run on the same item by the same thread.
  // begin == end: rows are put in order of their experts, for the DISPATCH that follows.
  struct Phase {
    int32_t begin, end;
    bool is_gated = false; // a LINEAR with the ACT_MUL of its columns, and perhaps what makes digits of those
  };
  // Cosines, then sines, of every position: [max_model_len][num_pairs] each.
  struct RopeTable {
    Memory memory;
    int64_t num_pairs;
    const float *cos, *sin;
  };
  struct Range {
    int32_t begin, end;
  };
  // Where a row's keys and values go.
  struct KVTarget {
    uint8_t *block;
    int offset; // among its tokens
    const KVGroupDesc &group;
  };

  void plan_phases();
  void plan_head();
  void make_rope_tables();
  void apply_changes(const StepDesc &step);
  void make_rows(const StepDesc &step);
  void make_tiles();
  void clear_and_restore(int item);
  StepPhase step_phase(const Phase &phase) const;
  int num_items(const Phase &phase) const;
  void run_item(const Phase &phase, int item, int thread);
  void run_rows(const OpDesc &op, int begin, int end);
  KVTarget kv_target(const OpDesc &write, int row);
  void fetch_kv(const OpDesc &write, int row);
  void run_norm(const OpDesc &op, int row);
  void run_scale(const OpDesc &op, int row);
  void run_linear(const OpDesc &op, int item, int thread);
  void run_linear_item(const LinearArgs &args, int item, int thread);
  AttentionArgs attention_args(const OpDesc &op, int item);
  void run_attention(const OpDesc &op, int item, int next, int thread);
  void order_by_expert(const OpDesc &dispatch);
  void run_dispatch(const OpDesc &op, int row);
  void run_combine(const OpDesc &op, int row);
  void run_expert_linear(const OpDesc &op, int item, int thread);
  int expert_items(const OpDesc &op) const;
  int gated_items(const Phase &phase) const;
  void run_gated(const Phase &phase, int item, int thread);
  LinearArgs columns_of(const OpDesc &op, int64_t first, int32_t count) const;
  // Of some rows and one segment of a weight; the segment's first column is `column` of the op's output.
  LinearArgs segment_args(const OpDesc &op, int32_t weight, int segment, int64_t column, Range rows) const;
  LinearArgs linear_args(const OpDesc &op, int segment, int64_t column) const;
  LinearArgs expert_args(const OpDesc &op, int expert, int segment, int64_t column) const;
  int rows_of(int32_t buffer) const;
  std::string check_outputs(const StepDesc &step) const;
  void run_phases(Range phases, Range outputs);
  void run_outputs(const StepDesc &step);
  SampledOutput sampled_output(int output) const;
  void pool(Range outputs);
  void take_column_best(const LinearArgs &args, int item);
  int32_t greedy_token(int output) const;
  void sample_slot(int output, int thread);
  void sample_output(int output, int thread);
  void score(int output, int row, int32_t token, int32_t num_logprobs);
  void run_job(void (*job)(void *, int), Range phases, bool keep_warm);
  void run_phases_of_job(int thread);
  int run_items(const Phase &phase, Items &items, int thread);
  // Items that belong to no phase: number() says how many. False: see Team::finish.
  template <class Number, class Run> bool run_beside_phases(Number &&number, Run &&run, int thread) {
    const int32_t count = items_[0].count(number);
    return team_.finish(items_[0], items_[0].run_in_order(count, run), thread);
  }
  static void forward_job(void *self, int thread);
  static void score_job(void *self, int thread);
  static void sample_job(void *self, int thread);

  int64_t stride(int32_t buffer) const { return workspace_.buffers[buffer].stride; }
  float *f32_row(int32_t buffer, int64_t row) const;
  bf16 *bf16_row(int32_t buffer, int64_t row) const;
  DigitGroup *digits_row(int32_t buffer, int64_t row) const;
  int32_t *block_table(int32_t group, int32_t slot);
  uint8_t *block(int64_t index) const;
  uint8_t *scratch(int thread) const { return scratch_.data() + workspace_.scratch_bytes * thread; }

  const ExecutorDesc desc_;
  const KernelTable &kernels_;
  std::vector<Phase> phases_;
  std::unique_ptr<Items[]> items_; // of each phase, and one more: of what comes before the first, of sampling
  const Workspace workspace_;
  std::vector<int32_t> block_tables_; // [group][slot][max blocks of a sequence]
  Memory buffers_, scratch_;
  Memory blocks_, tier_; // of all KV groups; a page is taken when a block is first used, or by touch_ahead
  int32_t num_used_blocks_ = 0; // ever; the others have higher numbers
  size_t touched_bytes_ = 0;    // of blocks_, from its beginning
  std::vector<RopeTable> rope_tables_;

  Sampler sampler_;

  // The step being run. The head, every phase from the gathering of output rows on, runs on a range of the
  // outputs at a time: its buffers hold max_seqs rows.
  StepDesc step_{};
  ResultDesc results_{};
  Range phase_range_{}, head_range_{};
  std::atomic<int> front_{0};   // the phase that member 0 of the team is at; -1: before the first
  int32_t num_body_phases_ = 0; // before the head
  int32_t logits_phase_ = 0;
  std::vector<ColumnBest> column_best_; // [max_seqs][num_head_items], of the outputs that are sampled
  bool is_sampled_range_ = false;       // the head runs on those
  std::vector<int32_t> first_sampled_;  // of each slot that is sampled: its first output
  std::vector<int32_t> token_ids_, row_request_, positions_;
  std::vector<AttentionTile> tiles_;
  StepClock clock_;
  // Pairs of a row and one of its experts, numbered row by row: pair of a dispatched row, dispatched row of a
  // pair; the first dispatched row of each expert and one more; the experts that have rows.
  std::vector<int32_t> pair_of_, place_of_, expert_begin_, busy_experts_;
  std::atomic<int32_t> num_busy_experts_{0}; // also read by who is late, and then not used
  std::vector<SampledOutput> sampled_;
  const uint32_t *masks_ = nullptr;
  Team team_;
};

} // namespace octavo
