"""A model as a flat list of ops over buffers, weights and KV groups: what every back end executes.

The program is canonical and unfused. Values are rounded where they are stored in a buffer, to the buffer's
dtype, and nowhere else; fusion and packing are each back end's own lowering and must be neutral to the bit.
No op reads a host value that changes between steps. Knows nothing of files or of how weights are stored.
"""

import dataclasses
import enum

from octavo.core.block_hash import BLOCK_SIZE
from octavo.models.architecture import Architecture, RopePairing
from octavo.models.ops import (
    KIND_OF_ATTRS,
    ActMulAttrs,
    AttentionAttrs,
    Attrs,
    EmbedAttrs,
    GatherAttrs,
    KVWriteAttrs,
    LinearAttrs,
    NormAttrs,
    OpKind,
    RopeAttrs,
)

NUMERICS_VERSION = 1  # part of every block's identity; changes exactly when the bits of any result change


class Rows(enum.StrEnum):
    """How many rows a buffer has in a step."""

    TOKENS = "tokens"
    OUTPUTS = "outputs"


class DType(enum.StrEnum):
    F32 = "f32"
    BF16 = "bf16"

    @property
    def num_bytes(self) -> int:
        return 4 if self is DType.F32 else 2


@dataclasses.dataclass(frozen=True, slots=True)
class Buffer:
    name: str
    rows: Rows
    width: int
    dtype: DType


@dataclasses.dataclass(frozen=True, slots=True)
class Weight:
    """A matrix [sum of part rows, num_columns] (y = x W^T), stacked from named tensors, or a vector
    (num_columns == 1).

    parts: (tensor name, rows) from top to bottom, in the names of `families/`: "layers.0.q".
    """

    name: str
    parts: tuple[tuple[str, int], ...]
    num_columns: int

    @property
    def num_rows(self) -> int:
        return sum(rows for _, rows in self.parts)

    @property
    def is_vector(self) -> bool:
        return self.num_columns == 1


@dataclasses.dataclass(frozen=True, slots=True)
class KVGroup:
    """Layers whose K and V live in the same blocks.

    A block holds 16 tokens: [kv_head][layer][K | V], bf16; K as [head_dim / 2][16 tokens][2 dims], V as
    [8 token pairs][head_dim][2 tokens]: what a matrix unit reads without rearranging.
    """

    num_layers: int
    num_kv_heads: int
    head_dim: int

    @property
    def slab_bytes(self) -> int:
        """K (or V) of one layer and head in one block."""
        return BLOCK_SIZE * self.head_dim * DType.BF16.num_bytes

    @property
    def block_bytes(self) -> int:
        """The stride between blocks: their content, padded to an odd number of cache lines."""
        lines = -(-2 * self.slab_bytes * self.num_layers * self.num_kv_heads // 64)
        return 64 * (lines | 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Op:
    """inputs and output name buffers; weight names a Weight. layer is -1 outside the layers."""

    layer: int
    inputs: tuple[str, ...]
    output: str | None
    weight: str | None
    attrs: Attrs

    @property
    def kind(self) -> OpKind:
        return KIND_OF_ATTRS[type(self.attrs)]


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """ops run in order; the last one leaves [num_outputs, vocab_size] in the buffer named logits."""

    architecture: Architecture
    ops: tuple[Op, ...]
    buffers: tuple[Buffer, ...]
    weights: tuple[Weight, ...]
    kv_groups: tuple[KVGroup, ...]

    logits = "logits"

    def buffer(self, name: str) -> Buffer:
        return next(buffer for buffer in self.buffers if buffer.name == name)

    def weight(self, name: str) -> Weight:
        return next(weight for weight in self.weights if weight.name == name)


def lower(arch: Architecture) -> Program:
    """The program of a dense decoder."""
    hidden, head_dim = arch.hidden_size, arch.head_dim
    q_width, kv_width = arch.num_heads * head_dim, arch.num_kv_heads * head_dim
    qkv_width = q_width + 2 * kv_width
    buffers = (
        Buffer("hidden", Rows.TOKENS, hidden, DType.F32),
        Buffer("normed", Rows.TOKENS, hidden, DType.BF16),
        Buffer("qkv", Rows.TOKENS, qkv_width, DType.F32),
        Buffer("rotated", Rows.TOKENS, qkv_width, DType.BF16),
        Buffer("attended", Rows.TOKENS, q_width, DType.BF16),
        Buffer("gate_up", Rows.TOKENS, 2 * arch.ffn_size, DType.F32),
        Buffer("activated", Rows.TOKENS, arch.ffn_size, DType.BF16),
        Buffer("last_hidden", Rows.OUTPUTS, hidden, DType.F32),
        Buffer("last_normed", Rows.OUTPUTS, hidden, DType.BF16),
        Buffer("logits", Rows.OUTPUTS, arch.vocab_size, DType.F32),
    )
    embedding = Weight("embedding", (("embedding", arch.vocab_size),), hidden)
    head = embedding if arch.is_embedding_tied else Weight("head", (("head", arch.vocab_size),), hidden)
    weights = [embedding]
    ops = [Op(-1, (), "hidden", "embedding", EmbedAttrs())]
    for layer in range(arch.num_layers):
        layer_ops, layer_weights = _lower_layer(arch, layer, q_width, kv_width)
        ops += layer_ops
        weights += layer_weights
    weights.append(Weight("final_norm", (("final_norm", hidden),), 1))
    if head is not embedding:
        weights.append(head)
    ops += [
        Op(-1, ("hidden",), "last_hidden", None, GatherAttrs()),
        Op(-1, ("last_hidden",), "last_normed", "final_norm", NormAttrs(arch.norm_epsilon)),
        Op(-1, ("last_normed",), "logits", head.name, LinearAttrs()),
    ]
    group = KVGroup(arch.num_layers, arch.num_kv_heads, head_dim)
    return Program(arch, tuple(ops), buffers, tuple(weights), (group,))


def _lower_layer(
    arch: Architecture, layer: int, q_width: int, kv_width: int
) -> tuple[list[Op], list[Weight]]:
    hidden, ffn = arch.hidden_size, arch.ffn_size
    heads = (arch.num_heads, arch.num_kv_heads, arch.head_dim)
    is_interleaved = int(arch.rope_pairing is RopePairing.INTERLEAVED)
    scale = arch.head_dim**-0.5
    prefix = f"layers.{layer}"
    weights = [
        Weight(f"{prefix}.attention_norm", ((f"{prefix}.attention_norm", hidden),), 1),
        Weight(
            f"{prefix}.qkv",
            ((f"{prefix}.q", q_width), (f"{prefix}.k", kv_width), (f"{prefix}.v", kv_width)),
            hidden,
        ),
        Weight(f"{prefix}.o", ((f"{prefix}.o", hidden),), q_width),
        Weight(f"{prefix}.ffn_norm", ((f"{prefix}.ffn_norm", hidden),), 1),
        Weight(f"{prefix}.gate_up", ((f"{prefix}.gate", ffn), (f"{prefix}.up", ffn)), hidden),
        Weight(f"{prefix}.down", ((f"{prefix}.down", hidden),), ffn),
    ]
    norm, residual = NormAttrs(arch.norm_epsilon), LinearAttrs(has_residual=1)
    ops = [
        Op(layer, ("hidden",), "normed", f"{prefix}.attention_norm", norm),
        Op(layer, ("normed",), "qkv", f"{prefix}.qkv", LinearAttrs()),
        Op(layer, ("qkv",), "rotated", None, RopeAttrs(*heads, is_interleaved, arch.rope_base)),
        Op(layer, ("rotated",), None, None, KVWriteAttrs(0, layer, *heads)),
        Op(layer, ("rotated",), "attended", None, AttentionAttrs(0, layer, *heads, scale)),
        Op(layer, ("attended",), "hidden", f"{prefix}.o", residual),
        Op(layer, ("hidden",), "normed", f"{prefix}.ffn_norm", norm),
        Op(layer, ("normed",), "gate_up", f"{prefix}.gate_up", LinearAttrs()),
        Op(layer, ("gate_up",), "activated", None, ActMulAttrs(ffn)),
        Op(layer, ("activated",), "hidden", f"{prefix}.down", residual),
    ]
    return ops, weights
