"""Mixtral: mistral with a mixture of experts in place of every MLP. Its GGUF files say `llama`."""

import dataclasses

from octavo.core.metadata import ModelMetadata
from octavo.models import decoder_config
from octavo.models.architecture import Architecture, Experts
from octavo.models.decoder_config import with_defaults
from octavo.models.families import mistral
from octavo.models.soundness import checked_experts

NAME = "mixtral"
CONFIG_NAME = "MixtralForCausalLM"


def architecture_of_config(config: ModelMetadata) -> Architecture:
    config = with_defaults(config, rms_norm_eps=1e-5, num_local_experts=8, num_experts_per_tok=2)
    arch = mistral.architecture_of_config(config)
    experts = Experts(
        count=config.positive("num_local_experts"),
        per_token=config.positive("num_experts_per_tok"),
        ffn_size=arch.ffn_size,
        is_normalized=True,
    )
    kinds = tuple(dataclasses.replace(kind, has_experts=True) for kind in arch.layer_kinds)
    return dataclasses.replace(
        arch, family=NAME, layer_kinds=kinds, experts=checked_experts(config.source, experts)
    )


def config_names(arch: Architecture) -> dict[str, str]:
    return decoder_config.config_names(
        arch,
        router="block_sparse_moe.gate.weight",
        expert_gate="block_sparse_moe.experts.{}.w1.weight",
        expert_up="block_sparse_moe.experts.{}.w3.weight",
        expert_down="block_sparse_moe.experts.{}.w2.weight",
    )
