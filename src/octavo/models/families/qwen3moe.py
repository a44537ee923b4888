"""Qwen3-MoE: qwen3 with a mixture of experts in place of the MLP, in all layers or in some."""

import dataclasses
from collections.abc import Collection

from octavo.core.metadata import ModelMetadata
from octavo.models import decoder_config
from octavo.models.architecture import Architecture, Experts, QKNorm
from octavo.models.decoder_gguf import decoder_of_gguf, gguf_experts, gguf_names
from octavo.models.families import qwen3
from octavo.models.rotary import RopePairing
from octavo.models.soundness import checked_experts

__all__ = [
    "CONFIG_NAME", "NAME", "architecture_of_config", "architecture_of_gguf", "config_names", "gguf_names",
]  # fmt: skip

NAME = "qwen3moe"
CONFIG_NAME = "Qwen3MoeForCausalLM"


def architecture_of_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> Architecture:
    arch = decoder_of_gguf(metadata, tensor_names, NAME, RopePairing.HALVES, reads=["expert_count"])
    ffn_size = metadata.positive(f"{NAME}.expert_feed_forward_length")
    return dataclasses.replace(
        arch,
        qk_norm=QKNorm.HEAD,
        layer_kinds=(dataclasses.replace(arch.layer_kinds[0], has_experts=True),),
        experts=gguf_experts(metadata, NAME, ffn_size),
    )


def architecture_of_config(config: ModelMetadata) -> Architecture:
    arch = qwen3.architecture_of_config(config)
    count_key = "num_experts" if config.values.get("num_experts") is not None else "num_local_experts"
    experts = Experts(
        count=config.positive(count_key, 128),
        per_token=config.positive("num_experts_per_tok", 8),
        ffn_size=config.positive("moe_intermediate_size", 768),
        is_normalized=config.flag("norm_topk_prob", False),
    )
    dense = config.integers("mlp_only_layers", [])
    step = config.positive("decoder_sparse_step", 1)
    kinds = tuple(
        dataclasses.replace(kind, has_experts=layer not in dense and (layer + 1) % step == 0)
        for layer, kind in enumerate(arch.kinds_used)
    )
    return dataclasses.replace(
        arch, family=NAME, layer_kinds=kinds, experts=checked_experts(config.source, experts)
    )


def config_names(arch: Architecture) -> dict[str, str]:
    return decoder_config.config_names(
        arch,
        router="mlp.gate.weight",
        expert_gate="mlp.experts.{}.gate_proj.weight",
        expert_up="mlp.experts.{}.up_proj.weight",
        expert_down="mlp.experts.{}.down_proj.weight",
    )
