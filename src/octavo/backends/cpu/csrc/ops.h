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
};

struct EmbedAttrs { double scale; };
struct NormAttrs { double epsilon; };
struct LinearAttrs { int64_t has_residual; };
struct RopeAttrs { int64_t num_heads; int64_t num_kv_heads; int64_t head_dim; int64_t is_interleaved; double base; };
struct KVWriteAttrs { int64_t group; int64_t layer; int64_t num_heads; int64_t num_kv_heads; int64_t head_dim; };
struct AttentionAttrs { int64_t group; int64_t layer; int64_t num_heads; int64_t num_kv_heads; int64_t head_dim; double scale; };
struct ActMulAttrs { int64_t width; };
struct GatherAttrs { int64_t unused; };

constexpr int MAX_ATTRIBUTE_BYTES = 64;

}  // namespace octavo
