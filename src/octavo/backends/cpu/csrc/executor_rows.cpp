// Row-wise ops: a row's values only depend on that row.
#include "executor.h"

#include <cstring>

namespace octavo {

Executor::KVTarget Executor::kv_target(const OpDesc &write, int row) {
  const int32_t position = positions_[row], group = (int32_t)write.as<KVWriteAttrs>().group;
  const int32_t *table = block_table(group, step_.slot[row_request_[row]]);
  return {block(table[position / BLOCK_SIZE]), position % BLOCK_SIZE, desc_.kv_groups[group]};
}

// A step's new tokens each write to many lines that are in no cache: all are asked for at once, before what
// is to be written is computed.
void Executor::fetch_kv(const OpDesc &write, int row) {
  const KVTarget target = kv_target(write, row);
  kernels_.kv_fetch_row(target.block, target.offset, (int)target.group.num_layers, target.group.format,
                        write.as<KVWriteAttrs>());
}

void Executor::run_rows(const OpDesc &op, int begin, int end) {
  for (int row = begin; row < end; row++)
    switch (op.kind) {
    case OpKind::EMBED: {
      const LinearWeight &table = desc_.weights[op.weight].segments[0];
      float *target = f32_row(op.output, row);
      kernels_.unpack_row(table, token_ids_[row], target);
      kernels_.scale_row_f32(target, target, table.depth, {op.as<EmbedAttrs>().scale, 0.0});
      break;
    }
    case OpKind::NORM:
      run_norm(op, row);
      break;
    case OpKind::SCALE:
      run_scale(op, row);
      break;
    case OpKind::ROPE: {
      const RopeAttrs &attrs = op.as<RopeAttrs>();
      const RopeTable *table = attrs.table >= 0 ? &rope_tables_[attrs.table] : nullptr;
      const int64_t at = table ? positions_[row] * table->num_pairs : 0;
      kernels_.rope_row(f32_row(op.input, row), bf16_row(op.output, row), table ? table->cos + at : nullptr,
                        table ? table->sin + at : nullptr, attrs);
      break;
    }
    case OpKind::KV_WRITE: {
      const KVTarget target = kv_target(op, row);
      kernels_.kv_write_row(bf16_row(op.input, row), target.block, target.offset,
                            (int)target.group.num_layers, target.group.format, op.as<KVWriteAttrs>());
      break;
    }
    case OpKind::ACT_MUL:
      kernels_.act_mul_rows(f32_row(op.input, row), 0, bf16_row(op.output, row), 0, 1, op.as<ActMulAttrs>());
      break;
    case OpKind::GATHER:
      memcpy(f32_row(op.output, row), f32_row(op.input, step_.output_row[head_range_.begin + row]),
             sizeof(float) * desc_.buffers[op.input].width);
      break;
    case OpKind::ROUTE:
      kernels_.route_row(f32_row(op.input, row), f32_row(op.output, row), op.as<RouteAttrs>());
      break;
    case OpKind::DISPATCH:
      run_dispatch(op, row);
      break;
    case OpKind::COMBINE:
      run_combine(op, row);
      break;
    case OpKind::QUANTIZE:
      kernels_.quantize_groups(bf16_row(op.input, row), digits_row(op.output, row),
                               (int)num_groups(desc_.buffers[op.input].width));
      break;
    case OpKind::LINEAR:
    case OpKind::EXPERT_LINEAR:
    case OpKind::ATTENTION:
      break; // not row-wise
    }
}

void Executor::run_norm(const OpDesc &op, int row) {
  const float *x = f32_row(op.input, row), *weight = desc_.weights[op.weight].vector;
  if (desc_.buffers[op.output].format == BufferFormat::BF16)
    kernels_.norm_row(x, weight, bf16_row(op.output, row), op.as<NormAttrs>());
  else
    kernels_.norm_row_f32(x, weight, f32_row(op.output, row), op.as<NormAttrs>());
}

void Executor::run_scale(const OpDesc &op, int row) {
  const int width = (int)desc_.buffers[op.input].width;
  if (desc_.buffers[op.output].format == BufferFormat::BF16)
    kernels_.scale_row(f32_row(op.input, row), bf16_row(op.output, row), width, op.as<ScaleAttrs>());
  else
    kernels_.scale_row_f32(f32_row(op.input, row), f32_row(op.output, row), width, op.as<ScaleAttrs>());
}

} // namespace octavo
