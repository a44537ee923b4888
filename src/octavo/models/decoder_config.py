"""What every decoder family states alike in a Hugging Face config.json, and the names of its tensors.

A family calls decoder_of_config() and replaces what differs. Knows no file: the settings are handed in.
"""

import math
from collections.abc import Mapping
from typing import Any

from octavo.core.errors import ModelFileError
from octavo.core.metadata import LARGEST_NUMBER, ModelMetadata
from octavo.models.architecture import Activation, Architecture, LayerKind
from octavo.models.lowering import lower
from octavo.models.rotary import (
    FactorScaling,
    LinearScaling,
    Llama3Scaling,
    Rope,
    RopePairing,
    RopeScaling,
    YarnScaling,
    log,
    yarn_attention_factor,
)
from octavo.models.soundness import checked

_OUTER_NAMES = {
    "embedding": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "head": "lm_head.weight",
}
_LAYER_NAMES = {
    "attention_norm": "input_layernorm.weight",
    "ffn_norm": "post_attention_layernorm.weight",
    "q": "self_attn.q_proj.weight",
    "k": "self_attn.k_proj.weight",
    "v": "self_attn.v_proj.weight",
    "o": "self_attn.o_proj.weight",
    "q_norm": "self_attn.q_norm.weight",
    "k_norm": "self_attn.k_norm.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
}
_ACTIVATIONS = {
    "silu": Activation.SILU,
    "swish": Activation.SILU,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
}


def with_defaults(config: ModelMetadata, **defaults: Any) -> ModelMetadata:
    """Settings that the family's own class fills in where the file is silent."""
    given = {key: value for key, value in config.values.items() if value is not None}
    return ModelMetadata(config.source, {**defaults, **given})


def decoder_of_config(config: ModelMetadata, family: str) -> Architecture:
    """The architecture so far: every layer alike, without a window.

    Raises ModelFileError for a missing or impossible value, and for a feature that is not supported.
    """
    hidden_size = config.positive("hidden_size")
    num_heads = config.positive("num_attention_heads")
    head_dim = config.positive("head_dim", hidden_size // num_heads or None)
    rope = rope_of_config(config, head_dim)
    has_bias = config.flag("attention_bias", False)
    return checked(
        config.source,
        Architecture(
            family=family,
            num_layers=config.positive("num_hidden_layers"),
            hidden_size=hidden_size,
            num_heads=num_heads,
            num_kv_heads=config.positive("num_key_value_heads", num_heads),
            head_dim=head_dim,
            ffn_size=config.positive("intermediate_size"),
            vocab_size=config.positive("vocab_size"),
            max_position=rope.usable(config.positive("max_position_embeddings", 2048)),
            norm_epsilon=config.number("rms_norm_eps", 1e-6),
            layer_kinds=(LayerKind(rope),),
            is_embedding_tied=config.flag("tie_word_embeddings", False),
            has_qkv_bias=has_bias,
            has_output_bias=has_bias,
            has_mlp_bias=config.flag("mlp_bias", False),
            activation=_activation(config),
        ),
    )


def config_names(arch: Architecture, **others: str) -> dict[str, str]:
    """Part name -> tensor name of every part of the program; others: names that only this family has.

    Those of a router and of experts' parts are always the family's: expert_gate, with {} for the expert.
    """
    names = {}
    for weight in lower(arch).weights:
        for part, _ in weight.parts:
            if not part.startswith("layers."):
                names[part] = _OUTER_NAMES[part]
                continue
            _, layer, kind = part.split(".", 2)
            if kind.startswith("experts."):
                _, expert, kind = kind.split(".")
                names[part] = f"model.layers.{layer}.{others[f'expert_{kind}'].format(expert)}"
                continue
            base = kind.removesuffix("_bias")
            name = others[base] if base in others else _LAYER_NAMES[base]
            name = name if base == kind else name.replace(".weight", ".bias")
            names[part] = f"model.layers.{layer}.{name}"
    return names


def layer_windows(config: ModelMetadata, is_sliding: list[bool]) -> tuple[int | None, ...]:
    """The window of each layer. layer_types decides; where there is none, is_sliding does, one per layer."""
    types = config.values.get("layer_types")
    if types is not None:
        known = ("full_attention", "sliding_attention")
        if not isinstance(types, list) or len(types) != len(is_sliding) or any(t not in known for t in types):
            raise config.error("layer_types", types, f"one of {' and '.join(known)} per layer")
        is_sliding = [kind == "sliding_attention" for kind in types]
    if not any(is_sliding):
        return (None,) * len(is_sliding)
    window = config.positive("sliding_window")
    # A window as long as the context hides nothing.
    effective = window if window < config.positive("max_position_embeddings", window + 1) else None
    return tuple(effective if slides else None for slides in is_sliding)


def with_windows(arch: Architecture, windows: tuple[int | None, ...]) -> tuple[LayerKind, ...]:
    """The layer kinds of arch, whose layers are all alike so far, with a window each."""
    kinds = tuple(LayerKind(arch.layer_kinds[0].rope, window) for window in windows)
    return kinds[:1] if len(set(kinds)) == 1 else kinds


def rope_of_config(config: ModelMetadata, head_dim: int, layer_type: str | None = None) -> Rope:
    """The rotary settings, wherever they are kept: on top, in rope_parameters (by layer type in some
    families), or in rope_scaling."""
    nested = config.values.get("rope_parameters") or config.values.get("rope_scaling") or {}
    if layer_type is not None and isinstance(nested, Mapping) and layer_type in nested:
        nested = nested[layer_type]
    if not isinstance(nested, Mapping):
        raise config.error("rope_parameters", nested, "an object")
    legacy_type = {"rope_type": nested["type"]} if "type" in nested else {}
    own = {key: config.values.get(key) for key in ("rope_theta", "partial_rotary_factor")}
    own["original_max_position_embeddings"] = config.values.get("original_max_position_embeddings")
    given = {key: value for key, value in {**legacy_type, **nested}.items() if value is not None}
    settings = ModelMetadata(config.source, {**own, **given})
    dim = int(head_dim * settings.number("partial_rotary_factor", 1.0))
    if not 0 < dim <= head_dim or dim % 2:
        raise settings.error("partial_rotary_factor", dim / head_dim, f"a part of {head_dim} that is even")
    longest = config.positive("max_position_embeddings", 2048)
    scaling = _scaling(settings, longest, dim)
    return Rope(settings.number("rope_theta", 10000.0), RopePairing.HALVES, dim, scaling)


def _scaling(settings: ModelMetadata, longest: int, dim: int) -> RopeScaling | None:
    """longest: the context with scaling, in tokens."""
    kind = settings.text("rope_type", "default")
    if kind == "default":
        return None
    original = settings.positive("original_max_position_embeddings", longest)
    if kind in ("longrope", "su"):
        return _longrope(settings, longest / original, original, dim)
    factor = settings.number("factor")
    if not (factor > 0 and math.isfinite(factor)):
        raise settings.error("factor", factor, "a number above 0")
    if kind == "linear":
        return LinearScaling(factor)
    if kind == "llama3":
        low, high = settings.number("low_freq_factor"), settings.number("high_freq_factor")
        return Llama3Scaling(factor, low, high, original)
    if kind == "yarn":
        return YarnScaling(
            factor,
            original,
            beta_fast=settings.number("beta_fast", 32.0),
            beta_slow=settings.number("beta_slow", 1.0),
            attention_factor=_yarn_attention_factor(settings, factor),
            is_truncated=settings.flag("truncate", True),
        )
    raise ModelFileError(
        f"{settings.source}: rope type {kind!r} is not supported;"
        " supported: default, linear, llama3, yarn, longrope."
    )


def _yarn_attention_factor(settings: ModelMetadata, factor: float) -> float | None:
    if "attention_factor" in settings.values:
        return settings.number("attention_factor")
    scale, scale_all = settings.number("mscale", 0.0), settings.number("mscale_all_dim", 0.0)
    if not (scale and scale_all):
        return None
    return yarn_attention_factor(factor, scale) / yarn_attention_factor(factor, scale_all)


def _longrope(settings: ModelMetadata, stretch: float, original: int, dim: int) -> FactorScaling:
    """The short factors, which serve the original context."""
    factors = settings.values.get("short_factor")
    if not isinstance(factors, list) or len(factors) != dim // 2 or not all(map(_is_positive, factors)):
        raise settings.error("short_factor", factors, f"{dim // 2} numbers above 0")
    stretch = settings.number("factor", stretch)
    is_stretched = stretch > 1.0 and original > 1
    default = math.sqrt(1.0 + log(stretch) / log(float(original))) if is_stretched else 1.0
    return FactorScaling(
        tuple(float(factor) for factor in factors),
        settings.number("attention_factor", default),
        longest=original,
    )


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LARGEST_NUMBER


def _activation(config: ModelMetadata) -> Activation:
    key = "hidden_activation" if config.values.get("hidden_activation") is not None else "hidden_act"
    name = config.text(key, "silu")
    if name not in _ACTIVATIONS:
        raise ModelFileError(
            f"{config.source}: {key} {name!r} is not supported; supported: {', '.join(_ACTIVATIONS)}."
        )
    return _ACTIVATIONS[name]
