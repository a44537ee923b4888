"""Phi-3 and Phi-4-mini: llama whose checkpoints keep q, k and v in one tensor, and gate and up in one.

LongRoPE: a model of it is served within its original context, for which the short factors are made. Beyond it
all keys would have to be computed again with the long ones.
"""

import dataclasses
from collections.abc import Collection, Mapping

from octavo.core.metadata import ModelMetadata
from octavo.core.tensor_slice import TensorNames, TensorSlice
from octavo.models import decoder_config, decoder_gguf
from octavo.models.architecture import Architecture, LayerKind
from octavo.models.decoder_config import decoder_of_config, layer_windows, with_defaults, with_windows
from octavo.models.decoder_gguf import decoder_of_gguf, gguf_window
from octavo.models.rotary import FactorScaling, RopePairing

NAME = "phi3"
CONFIG_NAME = "Phi3ForCausalLM"

_SHORT, _LONG = "rope_factors_short.weight", "rope_factors_long.weight"


def architecture_of_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> Architecture:
    reads = ["attention.sliding_window"]
    arch = decoder_of_gguf(metadata, tensor_names, NAME, RopePairing.HALVES, reads=reads)
    rope = arch.layer_kinds[0].rope
    assert rope is not None
    if _SHORT in tensor_names:
        scaling = FactorScaling(
            None,
            metadata.number(f"{NAME}.rope.scaling.attn_factor", 1.0),
            longest=metadata.positive(f"{NAME}.rope.scaling.original_context_length"),
        )
        rope = dataclasses.replace(rope, scaling=scaling)
    return dataclasses.replace(
        arch,
        max_position=rope.usable(arch.max_position),
        layer_kinds=(LayerKind(rope, gguf_window(metadata, NAME)),),
    )


def gguf_names(arch: Architecture) -> TensorNames:
    fused = {"qkv": "attn_qkv.weight", "gate_up": "ffn_up.weight"}
    names = dict(_fused(arch, decoder_gguf.gguf_names(arch, rope_factors=_SHORT), "blk", fused))
    if "rope_factors" in names:
        names["rope_factors_long"] = _LONG  # in the file, and of no use within the original context
    return names


def architecture_of_config(config: ModelMetadata) -> Architecture:
    arch = decoder_of_config(with_defaults(config, rms_norm_eps=1e-5), NAME)
    slides = config.values.get("sliding_window") is not None
    windows = layer_windows(config, [slides] * arch.num_layers)
    return dataclasses.replace(arch, layer_kinds=with_windows(arch, windows))


def config_names(arch: Architecture) -> TensorNames:
    fused = {"qkv": "self_attn.qkv_proj.weight", "gate_up": "mlp.gate_up_proj.weight"}
    return _fused(arch, decoder_config.config_names(arch), "model.layers", fused)


def _fused(arch: Architecture, names: TensorNames, prefix: str, fused: Mapping[str, str]) -> TensorNames:
    """names, but q, k, v, gate and up as rows of the tensors that hold them."""
    q_width, kv_width = arch.num_heads * arch.head_dim, arch.num_kv_heads * arch.head_dim
    rows = {
        "q": ("qkv", 0, q_width),
        "k": ("qkv", q_width, kv_width),
        "v": ("qkv", q_width + kv_width, kv_width),
        "gate": ("gate_up", 0, arch.ffn_size),
        "up": ("gate_up", arch.ffn_size, arch.ffn_size),
    }
    slices = {
        f"layers.{layer}.{part}": TensorSlice(f"{prefix}.{layer}.{fused[tensor]}", first, count)
        for layer in range(arch.num_layers)
        for part, (tensor, first, count) in rows.items()
    }
    return {**names, **slices}
