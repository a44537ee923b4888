"""Gemma 2: sandwich norms, GELU, scaled embeddings, caps of scores and logits, a window in every other layer.

Hugging Face checkpoints store norm weights less one; in GGUF files the one is added.
"""

import dataclasses
import math
from collections.abc import Collection

from octavo.core.metadata import ModelMetadata
from octavo.models import decoder_config
from octavo.models.architecture import Activation, Architecture, LayerKind, NormPlacement
from octavo.models.decoder_config import decoder_of_config, layer_windows, with_defaults, with_windows
from octavo.models.decoder_gguf import decoder_of_gguf, gguf_names, gguf_window
from octavo.models.rotary import RopePairing

__all__ = [
    "CONFIG_NAME", "NAME", "architecture_of_config", "architecture_of_gguf", "config_names", "gguf_names",
]  # fmt: skip

NAME = "gemma2"
CONFIG_NAME = "Gemma2ForCausalLM"

GGUF_FEATURES = ("attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping")
_LAYERS_OF_27B = 46


def architecture_of_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> Architecture:
    arch = gemma(decoder_of_gguf(metadata, tensor_names, NAME, RopePairing.HALVES, reads=GGUF_FEATURES))
    rope = arch.layer_kinds[0].rope
    return dataclasses.replace(
        arch,
        layer_kinds=(LayerKind(rope, gguf_window(metadata, NAME)), LayerKind(rope)),
        attention_scale=gguf_score_scale(arch, _LAYERS_OF_27B),
        attention_softcap=metadata.number(f"{NAME}.attn_logit_softcapping", 50.0) or None,
        logits_softcap=metadata.number(f"{NAME}.final_logit_softcapping", 30.0) or None,
    )


def architecture_of_config(config: ModelMetadata) -> Architecture:
    # A null means no cap, a missing key the class's own.
    caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0} | dict(config.values)
    config = with_gemma_defaults(config, sliding_window=4096)
    arch = gemma(decoder_of_config(config, NAME))
    slides = [layer % 2 == 0 for layer in range(arch.num_layers)]
    caps_given = ModelMetadata(config.source, caps)
    return dataclasses.replace(
        arch,
        norm_offset=1.0,
        layer_kinds=with_windows(arch, layer_windows(config, slides)),
        attention_scale=config.positive("query_pre_attn_scalar") ** -0.5,
        attention_softcap=caps_given.number("attn_logit_softcapping", 0.0) or None,
        logits_softcap=caps_given.number("final_logit_softcapping", 0.0) or None,
    )


def config_names(arch: Architecture) -> dict[str, str]:
    return decoder_config.config_names(
        arch,
        post_attention_norm="post_attention_layernorm.weight",
        ffn_norm="pre_feedforward_layernorm.weight",
        post_ffn_norm="post_feedforward_layernorm.weight",
    )


def gemma(arch: Architecture) -> Architecture:
    """What Gemma 2 and 3 share."""
    return dataclasses.replace(
        arch,
        norm_placement=NormPlacement.AROUND,
        activation=Activation.GELU_TANH,
        embedding_scale=math.sqrt(arch.hidden_size),
    )


def with_gemma_defaults(config: ModelMetadata, **defaults: int) -> ModelMetadata:
    """Raises ModelFileError for attention that looks ahead."""
    if config.flag("use_bidirectional_attention", False):
        raise config.error("use_bidirectional_attention", True, "false")
    return with_defaults(
        config,
        tie_word_embeddings=True,
        head_dim=256,
        query_pre_attn_scalar=256,
        hidden_activation="gelu_pytorch_tanh",
        **defaults,
    )


def gguf_score_scale(arch: Architecture, num_layers_of_27b: int) -> float | None:
    """The file does not say it; llama.cpp tells the 27B models, which divide otherwise, by their depth."""
    if arch.attention_scale is None and arch.num_layers == num_layers_of_27b:
        return float((arch.hidden_size / arch.num_heads) ** -0.5)
    return arch.attention_scale
