"""The kinds of op a program is made of, with their attributes: the one table behind the Python classes and
the C header.

Every attribute is an int or a float; `c_header()` renders the structs the native executor reads, and a test
holds the committed header against it. Adding an op is: a class here, a branch in the reference back end, a
kernel.
"""

import dataclasses
import enum
from typing import cast

MAX_ATTRIBUTE_BYTES = 64


class OpKind(enum.IntEnum):
    EMBED = 0
    NORM = 1
    LINEAR = 2
    ROPE = 3
    KV_WRITE = 4
    ATTENTION = 5
    ACT_MUL = 6
    GATHER = 7
    SCALE = 8
    ROUTE = 9
    DISPATCH = 10
    EXPERT_LINEAR = 11
    COMBINE = 12
    QUANTIZE = 13


LINEAR_KINDS = (OpKind.LINEAR, OpKind.EXPERT_LINEAR)


@dataclasses.dataclass(frozen=True, slots=True)
class EmbedAttrs:
    """tokens -> f32 rows of the embedding matrix, expanded to bf16 as every matrix is, times scale."""

    scale: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class NormAttrs:
    """RMS norm of num_groups stretches of a row, each width columns wide, from first_column on:
    x / sqrt(mean(x^2) + epsilon) * weight.

    With has_residual the output buffer's own content is added. The weight serves every stretch. Columns
    outside the stretches keep what the output buffer holds (that is: the op works in place).
    """

    epsilon: float
    width: int
    num_groups: int = 1
    first_column: int = 0
    has_residual: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class LinearAttrs:
    """y = (x W^T + bias) * scale, the bias if the op has one; with has_residual the output buffer's own
    content is added: y = output + (x W^T + bias) * scale.

    A second input is x as digits: by these are multiplied the weights that are stored as integers."""

    has_residual: int = 0
    scale: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class RopeAttrs:
    """[q heads | k heads | v heads] of a row: the first rotary_dim dimensions of every q and k head rotated
    at the row's position by the program's rope table of that number; the rest passed through."""

    table: int  # -1 where rotary_dim is 0
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rotary_dim: int
    is_interleaved: int


@dataclasses.dataclass(frozen=True, slots=True)
class KVWriteAttrs:
    """The k and v heads of a row go to the row's place in the KV cache. layer counts within the KV group."""

    group: int
    layer: int
    num_heads: int
    num_kv_heads: int
    head_dim: int


@dataclasses.dataclass(frozen=True, slots=True)
class AttentionAttrs:
    """Causal attention of the q heads of a row over the row's context in the KV cache.

    window: how many tokens a row sees, its own included; 0 is all. softcap c turns scores into
    c tanh(score / c); 0 leaves them.
    """

    group: int
    layer: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    window: int
    scale: float
    softcap: float


@dataclasses.dataclass(frozen=True, slots=True)
class ActMulAttrs:
    """[gate | up] -> silu(gate) * up, or gelu(gate) * up with gelu's tanh formula."""

    width: int
    is_gelu: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class GatherAttrs:
    """The rows that produce an output, in order."""


@dataclasses.dataclass(frozen=True, slots=True)
class ScaleAttrs:
    """x * scale, and then, with a softcap c other than 0, c tanh(. / c)."""

    scale: float = 1.0
    softcap: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class RouteAttrs:
    """Router logits -> [top_k expert numbers | top_k weights] of a row, the largest logit first, ties to the
    lowest number. Weights are the softmax over all experts or, normalized, over the chosen."""

    num_experts: int
    top_k: int
    is_normalized: int


@dataclasses.dataclass(frozen=True, slots=True)
class DispatchAttrs:
    """(rows, routes) -> each row once for each of its experts, in order of expert, then of row."""

    num_experts: int
    top_k: int


@dataclasses.dataclass(frozen=True, slots=True)
class ExpertLinearAttrs:
    """y = x W^T of dispatched rows, W the weight of the row's expert. The op names expert 0's weight; those
    of the others follow it in the program's weights. A second input is as with LinearAttrs."""

    num_experts: int


@dataclasses.dataclass(frozen=True, slots=True)
class CombineAttrs:
    """(dispatched rows, routes) -> output + scale * (sum of a row's experts' rows by their weights, in the
    order of its routes)."""

    top_k: int
    scale: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class QuantizeAttrs:
    """bf16 rows -> the same as digits, with a unit for every 32 columns."""


Attrs = (
    EmbedAttrs
    | NormAttrs
    | LinearAttrs
    | RopeAttrs
    | KVWriteAttrs
    | AttentionAttrs
    | ActMulAttrs
    | GatherAttrs
    | ScaleAttrs
    | RouteAttrs
    | DispatchAttrs
    | ExpertLinearAttrs
    | CombineAttrs
    | QuantizeAttrs
)

ATTRS_OF_KIND: dict[OpKind, type] = {
    OpKind.EMBED: EmbedAttrs,
    OpKind.NORM: NormAttrs,
    OpKind.LINEAR: LinearAttrs,
    OpKind.ROPE: RopeAttrs,
    OpKind.KV_WRITE: KVWriteAttrs,
    OpKind.ATTENTION: AttentionAttrs,
    OpKind.ACT_MUL: ActMulAttrs,
    OpKind.GATHER: GatherAttrs,
    OpKind.SCALE: ScaleAttrs,
    OpKind.ROUTE: RouteAttrs,
    OpKind.DISPATCH: DispatchAttrs,
    OpKind.EXPERT_LINEAR: ExpertLinearAttrs,
    OpKind.COMBINE: CombineAttrs,
    OpKind.QUANTIZE: QuantizeAttrs,
}
KIND_OF_ATTRS: dict[type, OpKind] = {attrs: kind for kind, attrs in ATTRS_OF_KIND.items()}

_C_TYPE = {int: "int64_t", float: "double"}


def c_header() -> str:
    """The text of csrc/ops.h."""
    lines = [
        "// Generated from models/ops.py (`python -m octavo.models.ops`); a test compares the two.",
        "#pragma once",
        "#include <cstdint>",
        "",
        "namespace octavo {",
        "",
        "enum class OpKind : int32_t {",
        *(f"  {kind.name} = {kind.value}," for kind in OpKind),
        "};",
        "",
    ]
    for attrs in ATTRS_OF_KIND.values():
        fields = [f"{_C_TYPE[cast(type, field.type)]} {field.name};" for field in dataclasses.fields(attrs)]
        body = " ".join(fields) or "int64_t unused;"
        lines.append(f"struct {attrs.__name__} {{ {body} }};")
    lines += [
        "",
        f"constexpr int MAX_ATTRIBUTE_BYTES = {MAX_ATTRIBUTE_BYTES};",
        "",
        "}  // namespace octavo",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(c_header(), end="")
