"""Qwen2 and Qwen2.5: llama with biases on q, k and v; heads rotate in halves in GGUF files too."""

import dataclasses
from collections.abc import Collection

from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Architecture
from octavo.models.decoder_config import config_names, decoder_of_config, layer_windows, with_windows
from octavo.models.decoder_gguf import decoder_of_gguf, gguf_names
from octavo.models.rotary import RopePairing

__all__ = [
    "CONFIG_NAME", "NAME", "architecture_of_config", "architecture_of_gguf", "config_names", "gguf_names",
]  # fmt: skip

NAME = "qwen2"
CONFIG_NAME = "Qwen2ForCausalLM"


def architecture_of_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> Architecture:
    arch = decoder_of_gguf(metadata, tensor_names, NAME, RopePairing.HALVES)
    return dataclasses.replace(arch, has_qkv_bias=True)


def architecture_of_config(config: ModelMetadata) -> Architecture:
    arch = decoder_of_config(config, NAME)
    return dataclasses.replace(
        arch,
        has_qkv_bias=True,
        layer_kinds=with_windows(arch, qwen_windows(config, arch.num_layers)),
    )


def qwen_windows(config: ModelMetadata, num_layers: int) -> tuple[int | None, ...]:
    """Of the layers from max_window_layers on, if use_sliding_window says so."""
    if not config.flag("use_sliding_window", False):
        return (None,) * num_layers
    first = config.integer("max_window_layers", 28)
    return layer_windows(config, [layer >= first for layer in range(num_layers)])
