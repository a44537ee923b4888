"""Llama: RMS norm before attention and MLP, rotary positions, grouped queries, SiLU-gated MLP.

GGUF files of this family store the rows of q and k permuted, so that neighbouring dimensions rotate together;
Hugging Face checkpoints rotate the two halves of a head. Covers every model that says `llama` and uses no
more; GGUF files of Mistral and Mixtral say `llama` too, and may name a sliding window or experts.
"""

import dataclasses
from collections.abc import Collection

from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Architecture, LayerKind
from octavo.models.decoder_config import config_names, decoder_of_config
from octavo.models.decoder_gguf import decoder_of_gguf, gguf_experts, gguf_names, gguf_window
from octavo.models.rotary import RopePairing

__all__ = [
    "CONFIG_NAME", "NAME", "architecture_of_config", "architecture_of_gguf", "config_names", "gguf_names",
]  # fmt: skip

NAME = "llama"
CONFIG_NAME = "LlamaForCausalLM"  # in "architectures" of a config.json


def architecture_of_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> Architecture:
    """Raises ModelFileError for a missing or impossible value, and for a feature that is not supported."""
    reads = ["attention.sliding_window", "expert_count"]
    arch = decoder_of_gguf(metadata, tensor_names, NAME, RopePairing.INTERLEAVED, reads=reads)
    has_experts = metadata.integer(f"{NAME}.expert_count", 0) > 0
    experts = gguf_experts(metadata, NAME, arch.ffn_size) if has_experts else None
    kind = LayerKind(arch.layer_kinds[0].rope, gguf_window(metadata, NAME), has_experts)
    return dataclasses.replace(arch, layer_kinds=(kind,), experts=experts)


def architecture_of_config(config: ModelMetadata) -> Architecture:
    """From a Hugging Face config.json. Raises ModelFileError as architecture_of_gguf does."""
    return decoder_of_config(config, NAME)
