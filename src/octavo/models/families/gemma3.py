"""Gemma 3, text: Gemma 2 without caps, with a norm of every query and key head; five of six layers see a
window and rotate by a base of their own."""

import dataclasses
from collections.abc import Collection

from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Architecture, LayerKind, QKNorm
from octavo.models.decoder_config import decoder_of_config, layer_windows, rope_of_config
from octavo.models.decoder_gguf import decoder_of_gguf, gguf_names, gguf_window
from octavo.models.families.gemma2 import (
    GGUF_FEATURES,
    config_names,
    gemma,
    gguf_score_scale,
    with_gemma_defaults,
)
from octavo.models.rotary import Rope, RopePairing

__all__ = [
    "CONFIG_NAME", "NAME", "architecture_of_config", "architecture_of_gguf", "config_names", "gguf_names",
]  # fmt: skip

NAME = "gemma3"
CONFIG_NAME = "Gemma3ForCausalLM"

_PERIOD = 6  # of the kinds of layers; the last of them sees everything
_LOCAL_BASE = 10000.0
_LAYERS_OF_27B = 62


def architecture_of_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> Architecture:
    arch = gemma(decoder_of_gguf(metadata, tensor_names, NAME, RopePairing.HALVES, reads=GGUF_FEATURES))
    full = arch.layer_kinds[0].rope
    assert full is not None
    local_base = metadata.number(f"{NAME}.rope.freq_base_swa", _LOCAL_BASE)
    local = LayerKind(Rope(local_base, full.pairing, full.dim), gguf_window(metadata, NAME))
    return dataclasses.replace(
        arch,
        qk_norm=QKNorm.HEAD,
        layer_kinds=(local,) * (_period(metadata) - 1) + (LayerKind(full),),
        attention_scale=gguf_score_scale(arch, _LAYERS_OF_27B),
        attention_softcap=metadata.number(f"{NAME}.attn_logit_softcapping", 0.0) or None,
        logits_softcap=metadata.number(f"{NAME}.final_logit_softcapping", 0.0) or None,
    )


def _period(metadata: ModelMetadata) -> int:
    key = f"{NAME}.attention.sliding_window_pattern"
    period = metadata.positive(key, _PERIOD)
    if period > metadata.positive(f"{NAME}.block_count", period):
        raise metadata.error(key, period, "at most the number of layers")
    return period


def architecture_of_config(config: ModelMetadata) -> Architecture:
    config = with_gemma_defaults(config, sliding_window=4096, max_position_embeddings=131072)
    arch = gemma(decoder_of_config(config, NAME))
    period = config.positive("sliding_window_pattern", _PERIOD)
    slides = [(layer + 1) % period != 0 for layer in range(arch.num_layers)]
    full, local = _ropes(config, arch.head_dim)
    windows = layer_windows(config, slides)
    types = config.values.get("layer_types")
    if types is not None:
        slides = [kind == "sliding_attention" for kind in types]
    kinds = (
        LayerKind(local if is_local else full, window)
        for is_local, window in zip(slides, windows, strict=True)
    )
    return dataclasses.replace(
        arch,
        norm_offset=1.0,
        qk_norm=QKNorm.HEAD,
        layer_kinds=tuple(kinds),
        attention_scale=config.positive("query_pre_attn_scalar") ** -0.5,
        attention_softcap=config.number("attn_logit_softcapping", 0.0) or None,
        logits_softcap=config.number("final_logit_softcapping", 0.0) or None,
    )


def _ropes(config: ModelMetadata, head_dim: int) -> tuple[Rope, Rope]:
    """Of full and of sliding layers: by layer type, or the older spelling with rope_local_base_freq, in which
    scaling concerns full layers only."""
    if config.values.get("rope_parameters") is not None:
        full = rope_of_config(config, head_dim, "full_attention")
        return full, rope_of_config(config, head_dim, "sliding_attention")
    values = {"rope_theta": 1e6} | {key: value for key, value in config.values.items() if value is not None}
    full = rope_of_config(ModelMetadata(config.source, values), head_dim)
    return full, Rope(config.number("rope_local_base_freq", _LOCAL_BASE), full.pairing, full.dim)
