"""SmolLM3: llama in which every fourth layer does without positions."""

import dataclasses
from collections.abc import Collection

from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Architecture, LayerKind
from octavo.models.decoder_config import config_names, decoder_of_config, layer_windows, with_defaults
from octavo.models.decoder_gguf import decoder_of_gguf, gguf_names
from octavo.models.rotary import RopePairing

__all__ = [
    "CONFIG_NAME", "NAME", "architecture_of_config", "architecture_of_gguf", "config_names", "gguf_names",
]  # fmt: skip

NAME = "smollm3"
CONFIG_NAME = "SmolLM3ForCausalLM"

_INTERVAL = 4


def architecture_of_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> Architecture:
    """The file does not say which layers have no positions; llama.cpp knows that it is every fourth."""
    arch = decoder_of_gguf(metadata, tensor_names, NAME, RopePairing.INTERLEAVED)
    rope = arch.layer_kinds[0].rope
    kinds = tuple(LayerKind(None if i == _INTERVAL - 1 else rope) for i in range(_INTERVAL))
    return dataclasses.replace(arch, layer_kinds=kinds)


def architecture_of_config(config: ModelMetadata) -> Architecture:
    config = with_defaults(config, tie_word_embeddings=True)
    arch = decoder_of_config(config, NAME)
    interval = config.positive("no_rope_layer_interval", _INTERVAL)
    by_interval = [int((layer + 1) % interval != 0) for layer in range(arch.num_layers)]
    has_rope = config.integers("no_rope_layers", by_interval)  # 1 where there are positions, despite its name
    if len(has_rope) != arch.num_layers:
        raise config.error("no_rope_layers", has_rope, "one number per layer")
    slides = config.flag("use_sliding_window", False)
    windows = layer_windows(config, [False] * arch.num_layers) if slides else (None,) * arch.num_layers
    rope = arch.layer_kinds[0].rope
    kinds = tuple(
        LayerKind(rope if has else None, window) for has, window in zip(has_rope, windows, strict=True)
    )
    return dataclasses.replace(arch, layer_kinds=kinds)
