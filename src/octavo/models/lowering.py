"""Lowers an Architecture to its Program: a function that writes the ops of a layer, and what surrounds them.

The order of ops, and what is added to what, are decided here and nowhere else.
"""

import collections
import dataclasses

from octavo.models.architecture import Activation, Architecture, Experts, LayerKind, QKNorm
from octavo.models.ops import (
    ActMulAttrs,
    AttentionAttrs,
    Attrs,
    CombineAttrs,
    DispatchAttrs,
    EmbedAttrs,
    ExpertLinearAttrs,
    GatherAttrs,
    KVWriteAttrs,
    LinearAttrs,
    NormAttrs,
    RopeAttrs,
    RouteAttrs,
    ScaleAttrs,
)
from octavo.models.program import Buffer, DType, KVGroup, Op, Program, RopeTable, Rows, Weight
from octavo.models.rotary import Rope, RopePairing

_ROPE_FACTORS = "rope_factors"
MAX_KV_GROUPS = 16  # each costs a sequence a block table


def lower(arch: Architecture) -> Program:
    """The program of a decoder."""
    lowering = _Lowering(arch)
    lowering.matrix("embedding", {"embedding": arch.vocab_size}, arch.hidden_size)
    lowering.op((), "hidden", EmbedAttrs(arch.embedding_scale), weight="embedding")
    for layer in range(arch.num_layers):
        _lower_layer(lowering, layer)
    lowering.layer = -1
    lowering.op(("hidden",), "last_hidden", GatherAttrs())
    lowering.norm("last_hidden", "last_normed", "final_norm")
    head = "embedding" if arch.is_embedding_tied else "head"
    if head == "head":
        lowering.matrix("head", {"head": arch.vocab_size}, arch.hidden_size)
    lowering.op(("last_normed",), "logits", LinearAttrs(scale=arch.logits_scale), weight=head)
    if arch.logits_softcap is not None:
        lowering.op(("logits",), "logits", ScaleAttrs(softcap=arch.logits_softcap))
    return lowering.program()


def kv_group_size(num_layers: list[int]) -> int:
    """For how many layers a KV group has room, if so many layers share each window.

    Blocks of all groups are equally large, so that one pool of them serves any mix of short and long
    sequences. Of the sizes that make few groups, the one that leaves the least room unused.
    """
    most_groups = max(MAX_KV_GROUPS, len(num_layers))
    sizes = [
        size
        for size in range(1, max(num_layers) + 1)
        if sum(-(-n // size) for n in num_layers) <= most_groups
    ]
    return min(sizes, key=lambda size: (sum(-n % size for n in num_layers), -size))


def _lower_layer(lowering: "_Lowering", layer: int) -> None:
    arch = lowering.arch
    lowering.layer, kind = layer, arch.kind_of(layer)
    prefix = f"layers.{layer}."
    group, group_layer = lowering.place_in_kv(kind)
    heads = (arch.num_heads, arch.num_kv_heads, arch.head_dim)
    q_width, kv_width = arch.num_heads * arch.head_dim, arch.num_kv_heads * arch.head_dim
    q_k_v = {"q": q_width, "k": kv_width, "v": kv_width}
    gate_up = {"gate": arch.ffn_size, "up": arch.ffn_size}

    lowering.norm_before(prefix + "attention_norm")
    lowering.linear("normed", "qkv", prefix, q_k_v, has_bias=arch.has_qkv_bias)
    lowering.norm_heads(prefix + "q_norm", 0, arch.num_heads)
    lowering.norm_heads(prefix + "k_norm", q_width, arch.num_kv_heads)
    lowering.op(("qkv",), "rotated", lowering.rope_attrs(kind.rope))
    lowering.op(("rotated",), None, KVWriteAttrs(group, group_layer, *heads))
    attention = AttentionAttrs(
        group, group_layer, *heads, kind.window or 0, arch.score_scale, arch.attention_softcap or 0.0
    )
    lowering.op(("rotated",), "attended", attention)
    lowering.add_to_hidden("attended", prefix, "o", arch.has_output_bias, prefix + "post_attention_norm")
    lowering.norm_before(prefix + "ffn_norm")
    if kind.has_experts:
        _lower_experts(lowering, prefix)
        return
    lowering.linear("normed", "gate_up", prefix, gate_up, has_bias=arch.has_mlp_bias)
    lowering.op(("gate_up",), "activated", ActMulAttrs(arch.ffn_size, lowering.is_gelu))
    lowering.add_to_hidden("activated", prefix, "down", arch.has_mlp_bias, prefix + "post_ffn_norm")


def _lower_experts(lowering: "_Lowering", prefix: str) -> None:
    arch, experts = lowering.arch, lowering.arch.experts
    assert experts is not None and not arch.norm_placement.is_after
    count, top_k, ffn = experts.count, experts.per_token, experts.ffn_size
    names = [f"{prefix}experts.{expert}." for expert in range(count)]
    lowering.matrix(prefix + "router", {prefix + "router": count}, arch.hidden_size)
    lowering.op(("normed",), "router_logits", LinearAttrs(), weight=prefix + "router")
    lowering.op(("router_logits",), "routes", RouteAttrs(count, top_k, int(experts.is_normalized)))
    lowering.op(("normed", "routes"), "dispatched", DispatchAttrs(count, top_k))
    for name in names:
        lowering.matrix(name + "gate_up", {name + "gate": ffn, name + "up": ffn}, arch.hidden_size)
    linear = ExpertLinearAttrs(count)
    lowering.op(("dispatched",), "expert_gate_up", linear, weight=names[0] + "gate_up")
    lowering.op(("expert_gate_up",), "expert_activated", ActMulAttrs(ffn, lowering.is_gelu))
    for name in names:
        lowering.matrix(name + "down", {name + "down": arch.hidden_size}, ffn)
    lowering.op(("expert_activated",), "expert_output", linear, weight=names[0] + "down")
    lowering.op(("expert_output", "routes"), "hidden", CombineAttrs(top_k, arch.residual_scale))


@dataclasses.dataclass(slots=True)
class _Lowering:
    """A program on its way: ops and weights in order, and where layers keep K and V."""

    arch: Architecture
    layer: int = -1
    ops: list[Op] = dataclasses.field(default_factory=list)
    weights: dict[str, Weight] = dataclasses.field(default_factory=dict)
    windows: list[int | None] = dataclasses.field(default_factory=list)  # of the KV groups
    num_placed: list[int] = dataclasses.field(default_factory=list)  # layers in them so far
    ropes: list[Rope] = dataclasses.field(default_factory=list)

    @property
    def is_gelu(self) -> int:
        return int(self.arch.activation is Activation.GELU_TANH)

    def op(
        self,
        inputs: tuple[str, ...],
        output: str | None,
        attrs: Attrs,
        *,
        weight: str | None = None,
        bias: str | None = None,
    ) -> None:
        self.ops.append(Op(self.layer, inputs, output, weight, attrs, bias))

    def matrix(self, name: str, parts: dict[str, int], num_columns: int) -> None:
        self.weights[name] = Weight(name, tuple(parts.items()), num_columns)

    def vector(self, name: str, parts: dict[str, int], offset: float = 0.0) -> None:
        self.weights[name] = Weight(name, tuple(parts.items()), offset=offset)

    def norm(self, source: str, target: str, weight: str, *, has_residual: bool = False) -> None:
        width = self.arch.hidden_size
        self.vector(weight, {weight: width}, self.arch.norm_offset)
        attrs = NormAttrs(self.arch.norm_epsilon, width, has_residual=int(has_residual))
        self.op((source,), target, attrs, weight=weight)

    def norm_before(self, weight: str) -> None:
        """hidden -> normed, rounded to bf16 either way."""
        if self.arch.norm_placement.is_before:
            self.norm("hidden", "normed", weight)
        else:
            self.op(("hidden",), "normed", ScaleAttrs())

    def norm_heads(self, weight: str, first_column: int, num_heads: int) -> None:
        """Of q or k, in place in qkv."""
        if self.arch.qk_norm is QKNorm.NONE:
            return
        width, num_groups = self.arch.head_dim, num_heads
        if self.arch.qk_norm is QKNorm.WIDTH:
            width, num_groups = width * num_heads, 1
        self.vector(weight, {weight: width}, self.arch.norm_offset)
        attrs = NormAttrs(self.arch.norm_epsilon, width, num_groups, first_column)
        self.op(("qkv",), "qkv", attrs, weight=weight)

    def linear(self, source: str, target: str, prefix: str, parts: dict[str, int], *, has_bias: bool) -> None:
        """target, a buffer, is also the weight's name."""
        weight, bias = prefix + target, prefix + target + "_bias" if has_bias else None
        self.matrix(weight, {prefix + part: rows for part, rows in parts.items()}, self.arch.hidden_size)
        if bias:
            self.vector(bias, {f"{prefix}{part}_bias": rows for part, rows in parts.items()})
        self.op((source,), target, LinearAttrs(), weight=weight, bias=bias)

    def add_to_hidden(self, source: str, prefix: str, part: str, has_bias: bool, post_norm: str) -> None:
        """hidden += residual_scale * W source, normed first where norms stand after."""
        weight, bias = prefix + part, prefix + part + "_bias" if has_bias else None
        self.matrix(weight, {weight: self.arch.hidden_size}, self.width_of(source))
        if bias:
            self.vector(bias, {bias: self.arch.hidden_size})
        scale = self.arch.residual_scale
        assert scale == 1.0 or not self.arch.norm_placement.is_after  # no family scales and norms
        if self.arch.norm_placement.is_after:
            self.op((source,), "projected", LinearAttrs(scale=scale), weight=weight, bias=bias)
            self.norm("projected", "hidden", post_norm, has_residual=True)
        else:
            self.op((source,), "hidden", LinearAttrs(1, scale), weight=weight, bias=bias)

    def width_of(self, buffer: str) -> int:
        return next(candidate.width for candidate in self.buffers() if candidate.name == buffer)

    def place_in_kv(self, kind: LayerKind) -> tuple[int, int]:
        """KV group of the next layer, and the layer's place in it."""
        for group, (window, num_placed) in enumerate(zip(self.windows, self.num_placed, strict=True)):
            if window == kind.window and num_placed < self.kv_group_size:
                self.num_placed[group] += 1
                return group, num_placed
        self.windows.append(kind.window)
        self.num_placed.append(1)
        return len(self.windows) - 1, 0

    @property
    def kv_group_size(self) -> int:
        windows = collections.Counter(kind.window for kind in self.arch.kinds_used)
        return kv_group_size(list(windows.values()))

    def rope_attrs(self, rope: Rope | None) -> RopeAttrs:
        heads = (self.arch.num_heads, self.arch.num_kv_heads, self.arch.head_dim)
        if rope is None:
            return RopeAttrs(-1, *heads, 0, 0)
        if rope not in self.ropes:
            self.ropes.append(rope)
            if rope.has_factor_tensor:
                self.vector(_ROPE_FACTORS, {_ROPE_FACTORS: rope.dim // 2})
        is_interleaved = int(rope.pairing is RopePairing.INTERLEAVED)
        return RopeAttrs(self.ropes.index(rope), *heads, rope.dim, is_interleaved)

    def buffers(self) -> tuple[Buffer, ...]:
        arch = self.arch
        hidden, q_width = arch.hidden_size, arch.num_heads * arch.head_dim
        qkv_width = q_width + 2 * arch.num_kv_heads * arch.head_dim
        buffers = [
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
        ]
        if arch.norm_placement.is_after:
            buffers.append(Buffer("projected", Rows.TOKENS, hidden, DType.F32))
        if arch.experts is not None:
            buffers += _expert_buffers(arch.experts, hidden)
        return tuple(buffers)

    def program(self) -> Program:
        arch = self.arch
        return Program(
            architecture=arch,
            ops=tuple(self.ops),
            buffers=self.buffers(),
            weights=tuple(self.weights.values()),
            kv_groups=tuple(
                KVGroup(self.kv_group_size, arch.num_kv_heads, arch.head_dim, window)
                for window in self.windows
            ),
            rope_tables=tuple(
                RopeTable(rope.frequencies(), rope.attention_factor, factors)
                for rope in self.ropes
                for factors in [_ROPE_FACTORS if rope.has_factor_tensor else None]
            ),
        )


def _expert_buffers(experts: Experts, hidden: int) -> list[Buffer]:
    top_k, ffn = experts.per_token, experts.ffn_size
    return [
        Buffer("router_logits", Rows.TOKENS, experts.count, DType.F32),
        Buffer("routes", Rows.TOKENS, 2 * top_k, DType.F32),
        Buffer("dispatched", Rows.TOKENS, hidden, DType.BF16, top_k),
        Buffer("expert_gate_up", Rows.TOKENS, 2 * ffn, DType.F32, top_k),
        Buffer("expert_activated", Rows.TOKENS, ffn, DType.BF16, top_k),
        Buffer("expert_output", Rows.TOKENS, hidden, DType.F32, top_k),
    ]
