"""A model as a flat list of ops over buffers, weights and KV groups: what every back end executes.

The program is canonical and unfused. Values are rounded where they are stored in a buffer, to the buffer's
dtype, and nowhere else; fusion and packing are each back end's own lowering and must be neutral to the bit.
No op reads a host value that changes between steps. Knows nothing of files or of how weights are stored.
"""

import dataclasses
import enum

from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.kv_dtype import KVDType
from octavo.models.architecture import Architecture
from octavo.models.ops import KIND_OF_ATTRS, Attrs, OpKind

_F32_BYTES, _BF16_BYTES = 4, 2
NUMERICS_VERSION = 1  # part of every block's identity; changes exactly when the bits of any result change


class Rows(enum.StrEnum):
    """How many rows a buffer has in a step."""

    TOKENS = "tokens"
    OUTPUTS = "outputs"


class DType(enum.StrEnum):
    """Of numbers in buffers. DIGITS: integers up to 127, and a unit for every 32 of them."""

    F32 = "f32"
    BF16 = "bf16"
    DIGITS = "digits"


@dataclasses.dataclass(frozen=True, slots=True)
class Buffer:
    """experts_per_token: in a buffer of dispatched rows, how many a token has; 0 in others."""

    name: str
    rows: Rows
    width: int
    dtype: DType
    experts_per_token: int = 0

    @property
    def rows_per_token(self) -> int:
        return max(self.experts_per_token, 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Weight:
    """A matrix [sum of part rows, num_columns] (y = x W^T), or a vector (num_columns == 1), stacked from
    named tensors.

    parts: (part name, rows) from top to bottom: "layers.0.q"; `loading.py` maps them to tensor names.
    offset is added to the values of a vector when it is loaded: some checkpoints store norm weights less one.
    """

    name: str
    parts: tuple[tuple[str, int], ...]
    num_columns: int = 1
    offset: float = 0.0

    @property
    def num_rows(self) -> int:
        return sum(rows for _, rows in self.parts)

    @property
    def is_vector(self) -> bool:
        return self.num_columns == 1


@dataclasses.dataclass(frozen=True, slots=True)
class KVGroup:
    """Layers whose K and V live in the same blocks, because their rows see the same tokens.

    num_layers is for how many there is room: the same in all groups of a program, so that blocks are alike.
    window: how many tokens a row sees, its own included; None: all up to its own.
    A block holds 16 tokens, [kv_head][layer][K | V], as a matrix unit reads them without rearranging:
    bf16: K [head_dim / 2][16 tokens][2 dims], V [8 token pairs][head_dim][2 tokens];
    int8: K [head_dim / 4][16 tokens][4 dims], 16 fp32 units of K, 16 of V, V [4][head_dim][4 tokens].
    """

    num_layers: int
    num_kv_heads: int
    head_dim: int
    window: int | None = None
    dtype: KVDType = KVDType.BF16

    @property
    def slab_bytes(self) -> int:
        """K (or V) of one layer and head in one block."""
        if self.dtype is KVDType.INT8:
            return BLOCK_SIZE * (self.head_dim + _F32_BYTES)
        return BLOCK_SIZE * self.head_dim * _BF16_BYTES

    @property
    def block_bytes(self) -> int:
        """The stride between blocks: their content, padded to an odd number of cache lines."""
        lines = -(-2 * self.slab_bytes * self.num_layers * self.num_kv_heads // 64)
        return 64 * (lines | 1)


@dataclasses.dataclass(frozen=True, slots=True)
class RopeTable:
    """Cosines and sines of position * frequency (radians), per pair of dimensions, times attention_factor.

    factors names the vector by which the frequencies are divided first, if there is one.
    """

    frequencies: tuple[float, ...]
    attention_factor: float = 1.0
    factors: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Op:
    """inputs and output name buffers; weight and bias name Weights. layer is -1 outside the layers."""

    layer: int
    inputs: tuple[str, ...]
    output: str | None
    weight: str | None
    attrs: Attrs
    bias: str | None = None

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
    rope_tables: tuple[RopeTable, ...]

    logits = "logits"

    def with_kv_dtype(self, dtype: KVDType) -> "Program":
        groups = tuple(dataclasses.replace(group, dtype=dtype) for group in self.kv_groups)
        return dataclasses.replace(self, kv_groups=groups)

    def buffer(self, name: str) -> Buffer:
        return next(buffer for buffer in self.buffers if buffer.name == name)

    def weight(self, name: str) -> Weight:
        return next(weight for weight in self.weights if weight.name == name)

    @property
    def num_parameters(self) -> int:
        """Elements of matrices, norms and biases."""
        return sum(weight.num_rows * weight.num_columns for weight in self.weights)

    @property
    def num_active_parameters(self) -> int:
        """Those that a token is computed with: of experts, only as many as it goes to."""
        experts = self.architecture.experts
        if experts is None:
            return self.num_parameters
        of_experts = sum(
            weight.num_rows * weight.num_columns for weight in self.weights if ".experts." in weight.name
        )
        return self.num_parameters - of_experts // experts.count * (experts.count - experts.per_token)
