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


@dataclasses.dataclass(frozen=True, slots=True)
class EmbedAttrs:
    """tokens -> f32 rows of the embedding matrix, expanded to bf16 as every matrix is, times scale."""

    scale: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class NormAttrs:
    """RMS norm: x / sqrt(mean(x^2) + epsilon) * weight."""

    epsilon: float = 1e-5


@dataclasses.dataclass(frozen=True, slots=True)
class LinearAttrs:
    """y = x W^T; with has_residual the output buffer's own content is added: y = output + x W^T."""

    has_residual: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class RopeAttrs:
    """[q heads | k heads | v heads] of a row: q and k rotated at the row's position, v passed through."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    is_interleaved: int
    base: float


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
    """Causal attention of the q heads of a row over the row's context in the KV cache."""

    group: int
    layer: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float


@dataclasses.dataclass(frozen=True, slots=True)
class ActMulAttrs:
    """[gate | up] -> silu(gate) * up."""

    width: int


@dataclasses.dataclass(frozen=True, slots=True)
class GatherAttrs:
    """The rows that produce an output, in order."""


Attrs = (
    EmbedAttrs
    | NormAttrs
    | LinearAttrs
    | RopeAttrs
    | KVWriteAttrs
    | AttentionAttrs
    | ActMulAttrs
    | GatherAttrs
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
