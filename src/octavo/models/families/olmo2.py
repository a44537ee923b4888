"""OLMo 2: llama with norms after attention and MLP instead of before, and one norm over all query heads of a
row, one over all key heads."""

import dataclasses
from collections.abc import Collection

from octavo.core.metadata import ModelMetadata
from octavo.models import decoder_config
from octavo.models.architecture import Architecture, NormPlacement, QKNorm
from octavo.models.decoder_config import decoder_of_config, with_defaults
from octavo.models.decoder_gguf import decoder_of_gguf, gguf_names
from octavo.models.rotary import RopePairing

__all__ = [
    "CONFIG_NAME", "NAME", "architecture_of_config", "architecture_of_gguf", "config_names", "gguf_names",
]  # fmt: skip

NAME = "olmo2"
CONFIG_NAME = "Olmo2ForCausalLM"


def architecture_of_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> Architecture:
    return _with_norms(decoder_of_gguf(metadata, tensor_names, NAME, RopePairing.HALVES))


def architecture_of_config(config: ModelMetadata) -> Architecture:
    return _with_norms(decoder_of_config(with_defaults(config, rms_norm_eps=1e-5), NAME))


def config_names(arch: Architecture) -> dict[str, str]:
    return decoder_config.config_names(
        arch,
        post_attention_norm="post_attention_layernorm.weight",
        post_ffn_norm="post_feedforward_layernorm.weight",
    )


def _with_norms(arch: Architecture) -> Architecture:
    return dataclasses.replace(arch, norm_placement=NormPlacement.AFTER, qk_norm=QKNorm.WIDTH)
