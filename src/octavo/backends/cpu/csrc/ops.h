// Generated from models/ops.py (`python -m octavo.models.ops`); a test compares the two.
#pragma once
#include <cstdint>

namespace octavo {

enum class OpKind : int32_t {
  EMBED = 0,
  NORM = 1,
  LINEAR = 2,
  ROPE = 3,
  KV_WRITE = 4,
  ATTENTION = 5,
  ACT_MUL = 6,
  GATHER = 7,
  SCALE = 8,
  ROUTE = 9,
  DISPATCH = 10,
  EXPERT_LINEAR = 11,
  COMBINE = 12,
  QUANTIZE = 13,
};

struct EmbedAttrs { double scale; };
struct NormAttrs { double epsilon; int64_t width; int64_t num_groups; int64_t first_column; int64_t has_residual; };
struct LinearAttrs { int64_t has_residual; double scale; };
struct RopeAttrs { int64_t table; int64_t num_heads; int64_t num_kv_heads; int64_t head_dim; int64_t rotary_dim; int64_t is_interleaved; };
struct KVWriteAttrs { int64_t group; int64_t layer; int64_t num_heads; int64_t num_kv_heads; int64_t head_dim; };
struct AttentionAttrs { int64_t group; int64_t layer; int64_t num_heads; int64_t num_kv_heads; int64_t head_dim; int64_t window; double scale; double softcap; };
struct ActMulAttrs { int64_t width; int64_t is_gelu; };
struct GatherAttrs { int64_t unused; };
struct ScaleAttrs { double scale; double softcap; };
struct RouteAttrs { int64_t num_experts; int64_t top_k; int64_t is_normalized; };
struct DispatchAttrs { int64_t num_experts; int64_t top_k; };
struct ExpertLinearAttrs { int64_t num_experts; };
struct CombineAttrs { int64_t top_k; double scale; };
struct QuantizeAttrs { int64_t unused; };

constexpr int MAX_ATTRIBUTE_BYTES = 64;

}  // namespace octavo
