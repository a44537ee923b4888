"""What every decoder family states alike in GGUF metadata, and the names of its tensors.

A family calls decoder_of_gguf() and replaces what differs. Knows no file: metadata and names are handed in.
"""

from collections.abc import Collection, Iterable, Mapping

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.core.tensor_slice import TensorNames, TensorSlice
from octavo.models.architecture import Architecture, Experts, LayerKind
from octavo.models.lowering import lower
from octavo.models.rotary import (
    FactorScaling,
    LinearScaling,
    Rope,
    RopePairing,
    RopeScaling,
    YarnScaling,
    yarn_attention_factor,
)
from octavo.models.soundness import checked, checked_experts

_OUTER_NAMES = {
    "embedding": "token_embd.weight",
    "final_norm": "output_norm.weight",
    "head": "output.weight",
    "rope_factors": "rope_freqs.weight",
}
_LAYER_NAMES = {
    "attention_norm": "attn_norm.weight",
    "post_attention_norm": "post_attention_norm.weight",
    "ffn_norm": "ffn_norm.weight",
    "post_ffn_norm": "post_ffw_norm.weight",
    "q": "attn_q.weight",
    "k": "attn_k.weight",
    "v": "attn_v.weight",
    "o": "attn_output.weight",
    "q_norm": "attn_q_norm.weight",
    "k_norm": "attn_k_norm.weight",
    "gate": "ffn_gate.weight",
    "up": "ffn_up.weight",
    "down": "ffn_down.weight",
    "router": "ffn_gate_inp.weight",
}
_MIN_TENSORS_PER_LAYER = 6
# Keys that change what is computed, and the value that changes nothing. A family that reads one says so.
_FEATURES: Mapping[str, float | bool] = {
    "expert_count": 0,
    "attention.sliding_window": 0,
    "attention.causal": True,
    "attention.max_alibi_bias": 0.0,
    "attention.clamp_kqv": 0.0,
    "attn_logit_softcapping": 0.0,
    "final_logit_softcapping": 0.0,
    "embedding_scale": 1.0,
    "residual_scale": 1.0,
    "logit_scale": 1.0,
    "rope.scaling.alpha": 0.0,
    "rope.scaling.yarn_ext_factor": 1.0,
    "rope.scaling.yarn_attn_factor": 1.0,
    "rope.scaling.yarn_log_multiplier": 0.0,
    "leading_dense_block_count": 0,
    "expert_shared_count": 0,
    "expert_group_count": 0,
    "expert_gating_func": 1,  # softmax
}


def decoder_of_gguf(
    metadata: ModelMetadata,
    tensor_names: Collection[str],
    family: str,
    pairing: RopePairing,
    *,
    reads: Iterable[str] = (),
) -> Architecture:
    """The architecture so far: every layer alike, biases where the file has them.

    family is also the prefix of the keys; reads: those of _FEATURES that the family reads itself.

    Raises ModelFileError for a missing or impossible value, and for a feature that nobody reads.
    """
    _refuse_features(metadata, family, reads)
    num_layers = metadata.positive(f"{family}.block_count")
    if num_layers * _MIN_TENSORS_PER_LAYER > len(tensor_names):
        raise metadata.error(
            f"{family}.block_count", num_layers, "as many layers as the file has tensors for"
        )
    hidden_size = metadata.positive(f"{family}.embedding_length")
    num_heads = metadata.positive(f"{family}.attention.head_count")
    head_dim = metadata.positive(f"{family}.attention.key_length", hidden_size // num_heads or None)
    if metadata.positive(f"{family}.attention.value_length", head_dim) != head_dim:
        key = f"{family}.attention.value_length"
        raise metadata.error(key, metadata.positive(key), f"{head_dim}, the width of a key head")
    names = frozenset(tensor_names)
    return checked(
        metadata.source,
        Architecture(
            family=family,
            num_layers=num_layers,
            hidden_size=hidden_size,
            num_heads=num_heads,
            num_kv_heads=metadata.positive(f"{family}.attention.head_count_kv", num_heads),
            head_dim=head_dim,
            ffn_size=metadata.positive(f"{family}.feed_forward_length"),
            vocab_size=_vocab_size(metadata, family),
            max_position=metadata.positive(f"{family}.context_length"),
            norm_epsilon=metadata.number(f"{family}.attention.layer_norm_rms_epsilon"),
            layer_kinds=(LayerKind(_rope(metadata, names, family, pairing, head_dim)),),
            is_embedding_tied=_OUTER_NAMES["head"] not in names,
            has_qkv_bias="blk.0.attn_q.bias" in names,
            has_output_bias="blk.0.attn_output.bias" in names,
            has_mlp_bias="blk.0.ffn_down.bias" in names,
            attention_scale=metadata.number(f"{family}.attention.scale", 0.0) or None,
        ),
    )


def gguf_window(metadata: ModelMetadata, family: str) -> int | None:
    """The sliding window, for a family that reads attention.sliding_window; one as long as the context hides
    nothing."""
    window = metadata.integer(f"{family}.attention.sliding_window", 0)
    return window if 0 < window < metadata.positive(f"{family}.context_length") else None


def gguf_experts(metadata: ModelMetadata, family: str, ffn_size: int) -> Experts:
    """For a family that reads expert_count. llama.cpp normalizes weights unless the file says otherwise."""
    count = metadata.positive(f"{family}.expert_count")
    used = metadata.positive(f"{family}.expert_used_count")
    is_normalized = metadata.flag(f"{family}.expert_weights_norm", True)
    return checked_experts(metadata.source, Experts(count, used, ffn_size, is_normalized))


def gguf_names(arch: Architecture, **others: str) -> TensorNames:
    """Part name -> tensor name of every part of the program; others: names that only this family has."""
    names: dict[str, str | TensorSlice] = {}
    for weight in lower(arch).weights:
        for part, num_rows in weight.parts:
            if not part.startswith("layers."):
                names[part] = others.get(part, _OUTER_NAMES[part])
                continue
            _, layer, kind = part.split(".", 2)
            if kind.startswith("experts."):  # stacked, one below the other
                _, expert, kind = kind.split(".")
                stack = f"blk.{layer}.ffn_{kind}_exps.weight"
                names[part] = TensorSlice(stack, int(expert) * num_rows, num_rows)
                continue
            base = kind.removesuffix("_bias")
            name = others.get(base, _LAYER_NAMES[base])
            name = name if base == kind else name.replace(".weight", ".bias")
            names[part] = f"blk.{layer}.{name}"
    return names


def _refuse_features(metadata: ModelMetadata, family: str, reads: Iterable[str]) -> None:
    for key, neutral in _FEATURES.items():
        if key in reads:
            continue
        full = f"{family}.{key}"
        if isinstance(neutral, bool):
            value: float | bool = metadata.flag(full, neutral)
        else:
            value = metadata.number(full, neutral)
        if value != neutral:
            raise ModelFileError(
                f"{metadata.source}: {full} is {value!r}, a feature that the {family} family does not have."
            )


def _vocab_size(metadata: ModelMetadata, family: str) -> int:
    if f"{family}.vocab_size" in metadata.values:
        return metadata.positive(f"{family}.vocab_size")
    return metadata.length("tokenizer.ggml.tokens")


def _rope(
    metadata: ModelMetadata, tensor_names: frozenset[str], family: str, pairing: RopePairing, head_dim: int
) -> Rope:
    dim = metadata.positive(f"{family}.rope.dimension_count", head_dim)
    if dim > head_dim or dim % 2:
        raise metadata.error(f"{family}.rope.dimension_count", dim, f"an even number up to {head_dim}")
    scaling = _rope_scaling(metadata, f"{family}.rope", metadata.positive(f"{family}.context_length"))
    if _OUTER_NAMES["rope_factors"] in tensor_names:
        if scaling is not None:
            raise metadata.error(f"{family}.rope.scaling.type", scaling, "none beside the tensor rope_freqs")
        scaling = FactorScaling(None)
    return Rope(metadata.number(f"{family}.rope.freq_base", 10000.0), pairing, dim, scaling)


def _rope_scaling(metadata: ModelMetadata, prefix: str, context: int) -> RopeScaling | None:
    key = f"{prefix}.scaling.type"
    kind = metadata.text(key, "none")
    factor = metadata.number(f"{prefix}.scaling.factor", 0.0)
    if f"{prefix}.scale_linear" in metadata.values and factor == 0.0:
        factor = metadata.number(f"{prefix}.scale_linear")
        kind = "linear" if key not in metadata.values else kind
    elif key not in metadata.values and factor not in (0.0, 1.0):
        kind = "linear"
    if kind in ("none", "longrope"):  # longrope: phi3 reads it, from two tensors
        return None
    if kind not in ("linear", "yarn"):
        raise metadata.error(key, kind, "none, linear, yarn or longrope")
    if factor <= 0.0:
        raise metadata.error(f"{prefix}.scaling.factor", factor, "a number above 0")
    if kind == "linear":
        return LinearScaling(factor) if factor != 1.0 else None
    return YarnScaling(
        factor=factor,
        original_context=metadata.positive(f"{prefix}.scaling.original_context_length", context),
        beta_fast=metadata.number(f"{prefix}.scaling.yarn_beta_fast", 32.0),
        beta_slow=metadata.number(f"{prefix}.scaling.yarn_beta_slow", 1.0),
        # The file's factor multiplies YaRN's own.
        attention_factor=yarn_attention_factor(factor)
        * metadata.number(f"{prefix}.scaling.attn_factor", 1.0),
    )
