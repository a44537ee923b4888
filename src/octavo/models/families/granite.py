"""Granite 3: llama with multipliers of the embedding, the attention scores, the residual additions and the
logits."""

import dataclasses
from collections.abc import Collection

from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Architecture
from octavo.models.decoder_config import config_names, decoder_of_config
from octavo.models.decoder_gguf import decoder_of_gguf, gguf_names
from octavo.models.rotary import RopePairing

__all__ = [
    "CONFIG_NAME", "NAME", "architecture_of_config", "architecture_of_gguf", "config_names", "gguf_names",
]  # fmt: skip

NAME = "granite"
CONFIG_NAME = "GraniteForCausalLM"


def architecture_of_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> Architecture:
    reads = ["embedding_scale", "residual_scale", "logit_scale"]
    arch = decoder_of_gguf(metadata, tensor_names, NAME, RopePairing.INTERLEAVED, reads=reads)
    return dataclasses.replace(
        arch,
        embedding_scale=metadata.number("granite.embedding_scale", 1.0),
        residual_scale=metadata.number("granite.residual_scale", 1.0),
        logits_scale=_inverse(metadata, "granite.logit_scale"),
    )


def architecture_of_config(config: ModelMetadata) -> Architecture:
    return dataclasses.replace(
        decoder_of_config(config, NAME),
        embedding_scale=config.number("embedding_multiplier", 1.0),
        attention_scale=config.number("attention_multiplier", 1.0),
        residual_scale=config.number("residual_multiplier", 1.0),
        logits_scale=_inverse(config, "logits_scaling"),
    )


def _inverse(metadata: ModelMetadata, key: str) -> float:
    """Both kinds of file say what logits are divided by."""
    divisor = metadata.number(key, 1.0)
    if divisor == 0.0:
        raise metadata.error(key, divisor, "a number other than 0")
    return 1.0 / divisor
