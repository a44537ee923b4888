"""Qwen3: llama without biases, with a norm of every query and key head before rotation."""

import dataclasses
from collections.abc import Collection

from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Architecture, QKNorm
from octavo.models.decoder_config import config_names, decoder_of_config, with_defaults, with_windows
from octavo.models.decoder_gguf import decoder_of_gguf, gguf_names
from octavo.models.families.qwen2 import qwen_windows
from octavo.models.rotary import RopePairing

__all__ = [
    "CONFIG_NAME", "NAME", "architecture_of_config", "architecture_of_gguf", "config_names", "gguf_names",
]  # fmt: skip

NAME = "qwen3"
CONFIG_NAME = "Qwen3ForCausalLM"


def architecture_of_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> Architecture:
    arch = decoder_of_gguf(metadata, tensor_names, NAME, RopePairing.HALVES)
    return dataclasses.replace(arch, qk_norm=QKNorm.HEAD)


def architecture_of_config(config: ModelMetadata) -> Architecture:
    arch = decoder_of_config(with_defaults(config, head_dim=128), NAME)
    return dataclasses.replace(
        arch, qk_norm=QKNorm.HEAD, layer_kinds=with_windows(arch, qwen_windows(config, arch.num_layers))
    )
