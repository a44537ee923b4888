// The largest logit of some columns, taken while they are still in the cache of the core that has computed
// them.
#pragma once
#include "parts.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

// Columns [begin, end) of a row.
ColumnBest best_of_columns(const float *x, int begin, int end) {
  FloatPart value = -__builtin_inff() - FloatPart{};
  IntPart column = {}, bad = {};
  const IntPart lanes = (IntPart)part_lane_index();
  int at = begin;
  for (; at + PART_LANES <= end; at += PART_LANES) {
    const FloatPart v = load_part(x + at);
    const IntPart is_better = v > value;
    value = larger(v, value);
    column = is_better ? lanes + at : column;
    bad |= (IntPart)((BitsPart)v & 0x7fffffffu) > 0x7f7fffff;
  }
  ColumnBest best = {-__builtin_inff(), INT32_MAX};
  const auto take = [&best](float v, int32_t id) {
    if (v > best.value || (v == best.value && id < best.column))
      best = {v, id};
  };
  for (int lane = 0; lane < PART_LANES && at > begin; lane++)
    take(value[lane], column[lane]);
  bool is_finite = !has_any(bad);
  for (; at < end; at++) {
    is_finite &= __builtin_fabsf(x[at]) <= __FLT_MAX__;
    take(x[at], at);
  }
  return is_finite ? best : ColumnBest{0.0f, NOT_FINITE};
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
