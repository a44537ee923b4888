"""What a decoder-only transformer is, as numbers: one frozen record, filled by a family.

Knows nothing of files, tensors' bytes or back ends. `lowering.py` turns it into a program. A field that a
family does not name is absent from its models; what differs between the layers of one model is a LayerKind.
"""

import dataclasses
import enum

from octavo.models.rotary import Rope


class Activation(enum.StrEnum):
    """Of the gate in a gated MLP."""

    SILU = "silu"
    GELU_TANH = "gelu_tanh"


class NormPlacement(enum.StrEnum):
    """Where a layer's norms stand around attention and around the MLP; the residual stream has none."""

    BEFORE = "before"
    AFTER = "after"
    AROUND = "around"  # both: a sandwich

    @property
    def is_before(self) -> bool:
        return self is not NormPlacement.AFTER

    @property
    def is_after(self) -> bool:
        return self is not NormPlacement.BEFORE


class QKNorm(enum.StrEnum):
    """The norm of queries and keys before they are rotated."""

    NONE = "none"
    HEAD = "head"  # each head by itself, one weight for all heads
    WIDTH = "width"  # all heads of a row together


@dataclasses.dataclass(frozen=True, slots=True)
class LayerKind:
    """What may differ from layer to layer."""

    rope: Rope | None  # None: positions do not enter
    window: int | None = None  # how many tokens a row sees, its own included; None: all up to its own
    has_experts: bool = False  # in place of the one MLP


@dataclasses.dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of MLPs: a router picks per_token of them for every token."""

    count: int
    per_token: int
    ffn_size: int  # of each
    is_normalized: bool  # the weights of those picked sum to 1


@dataclasses.dataclass(frozen=True, slots=True)
class Architecture:
    """A dense decoder: attention and gated MLP, both added to the residual stream."""

    family: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    vocab_size: int
    max_position: int  # the context the model was trained for, in tokens
    norm_epsilon: float
    layer_kinds: tuple[LayerKind, ...]  # layer i is of kind i mod their number
    is_embedding_tied: bool  # the output head is the token embedding
    has_qkv_bias: bool = False
    has_output_bias: bool = False  # of attention
    has_mlp_bias: bool = False
    qk_norm: QKNorm = QKNorm.NONE
    norm_placement: NormPlacement = NormPlacement.BEFORE
    norm_offset: float = 0.0  # added to every norm's stored weight
    activation: Activation = Activation.SILU
    embedding_scale: float = 1.0
    attention_scale: float | None = None  # None: 1 / sqrt(head_dim)
    residual_scale: float = 1.0  # what attention and MLP add to the stream is multiplied by it
    logits_scale: float = 1.0
    attention_softcap: float | None = None  # c: scores become c tanh(score / c)
    logits_softcap: float | None = None
    experts: Experts | None = None  # of layers that have them

    def kind_of(self, layer: int) -> LayerKind:
        return self.layer_kinds[layer % len(self.layer_kinds)]

    @property
    def kinds_used(self) -> tuple[LayerKind, ...]:
        """One per layer."""
        return tuple(self.kind_of(layer) for layer in range(self.num_layers))

    @property
    def score_scale(self) -> float:
        """Of a query's products with the keys."""
        return self.head_dim**-0.5 if self.attention_scale is None else self.attention_scale
