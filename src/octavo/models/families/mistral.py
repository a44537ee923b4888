"""Mistral: llama in which every layer may see a sliding window only. Its GGUF files say `llama`."""

import dataclasses

from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Architecture
from octavo.models.decoder_config import config_names, decoder_of_config, layer_windows, with_windows

__all__ = [
    "CONFIG_NAME", "NAME", "architecture_of_config", "config_names",
]  # fmt: skip

NAME = "mistral"
CONFIG_NAME = "MistralForCausalLM"


def architecture_of_config(config: ModelMetadata) -> Architecture:
    arch = decoder_of_config(config, NAME)
    slides = config.values.get("sliding_window") is not None
    return dataclasses.replace(
        arch, layer_kinds=with_windows(arch, layer_windows(config, [slides] * arch.num_layers))
    )
