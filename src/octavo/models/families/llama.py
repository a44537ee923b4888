"""Llama: RMS norm before attention and MLP, rotary positions, grouped queries, SiLU-gated MLP, no biases.

GGUF files of this family store the rows of q and k permuted, so that neighbouring dimensions rotate together;
Hugging Face checkpoints rotate the two halves of a head. Covers every model that says `llama` and uses no
more.
"""

import math
from collections.abc import Collection

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Architecture, RopePairing

NAME = "llama"
CONFIG_NAME = "LlamaForCausalLM"  # in "architectures" of a config.json

_GGUF_NAMES = {"embedding": "token_embd.weight", "final_norm": "output_norm.weight", "head": "output.weight"}
_GGUF_LAYER_NAMES = {
    "attention_norm": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "ffn_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
_CONFIG_NAMES = {
    "embedding": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "head": "lm_head.weight",
}
_CONFIG_LAYER_NAMES = {
    "attention_norm": "input_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


def architecture_of_gguf(metadata: ModelMetadata, tensor_names: Collection[str]) -> Architecture:
    """Raises ModelFileError for a missing or impossible value, and for a feature that is not supported."""
    _refuse_gguf_features(metadata, tensor_names)
    num_layers = metadata.positive("llama.block_count")
    if num_layers * len(_GGUF_LAYER_NAMES) > len(tensor_names):
        raise metadata.error("llama.block_count", num_layers, "as many layers as the file has tensors for")
    hidden_size = metadata.positive("llama.embedding_length")
    num_heads = metadata.positive("llama.attention.head_count")
    head_dim = metadata.positive("llama.attention.key_length", hidden_size // num_heads or None)
    for key in ("llama.attention.value_length", "llama.rope.dimension_count"):
        if metadata.positive(key, head_dim) != head_dim:
            raise metadata.error(key, metadata.positive(key), f"{head_dim}, the width of a key head")
    return _checked(
        metadata.source,
        Architecture(
            family=NAME,
            num_layers=num_layers,
            hidden_size=hidden_size,
            num_heads=num_heads,
            num_kv_heads=metadata.positive("llama.attention.head_count_kv", num_heads),
            head_dim=head_dim,
            ffn_size=metadata.positive("llama.feed_forward_length"),
            vocab_size=_gguf_vocab_size(metadata),
            max_position=metadata.positive("llama.context_length"),
            norm_epsilon=metadata.number("llama.attention.layer_norm_rms_epsilon"),
            rope_base=metadata.number("llama.rope.freq_base", 10000.0),
            rope_pairing=RopePairing.INTERLEAVED,
            is_embedding_tied=_GGUF_NAMES["head"] not in tensor_names,
        ),
    )


def _gguf_vocab_size(metadata: ModelMetadata) -> int:
    if "llama.vocab_size" in metadata.values:
        return metadata.positive("llama.vocab_size")
    return len(metadata.strings("tokenizer.ggml.tokens"))


def gguf_names(arch: Architecture) -> dict[str, str]:
    """Part name -> tensor name in a GGUF file."""
    return _names(arch, _GGUF_NAMES, "blk", _GGUF_LAYER_NAMES)


def architecture_of_config(config: ModelMetadata) -> Architecture:
    """From a Hugging Face config.json. Raises ModelFileError as architecture_of_gguf does."""
    _refuse_config_features(config)
    hidden_size = config.positive("hidden_size")
    num_heads = config.positive("num_attention_heads")
    return _checked(
        config.source,
        Architecture(
            family=NAME,
            num_layers=config.positive("num_hidden_layers"),
            hidden_size=hidden_size,
            num_heads=num_heads,
            num_kv_heads=config.positive("num_key_value_heads", num_heads),
            head_dim=config.positive("head_dim", hidden_size // num_heads or None),
            ffn_size=config.positive("intermediate_size"),
            vocab_size=config.positive("vocab_size"),
            max_position=config.positive("max_position_embeddings", 2048),
            norm_epsilon=config.number("rms_norm_eps", 1e-6),
            rope_base=_config_rope(config).number("rope_theta", 10000.0),
            rope_pairing=RopePairing.HALVES,
            is_embedding_tied=config.flag("tie_word_embeddings", False),
        ),
    )


def config_names(arch: Architecture) -> dict[str, str]:
    """Part name -> tensor name in a Hugging Face checkpoint."""
    return _names(arch, _CONFIG_NAMES, "model.layers", _CONFIG_LAYER_NAMES)


def _names(
    arch: Architecture, outer_names: dict[str, str], layer_prefix: str, layer_names: dict[str, str]
) -> dict[str, str]:
    names = {part: name for part, name in outer_names.items() if part != "head" or not arch.is_embedding_tied}
    for layer in range(arch.num_layers):
        for part, name in layer_names.items():
            names[f"layers.{layer}.{part}"] = f"{layer_prefix}.{layer}.{name}.weight"
    return names


def _refuse_gguf_features(metadata: ModelMetadata, tensor_names: Collection[str]) -> None:
    refused = {
        "llama.expert_count": metadata.integer("llama.expert_count", 0) > 0,
        "llama.attention.sliding_window": metadata.integer("llama.attention.sliding_window", 0) > 0,
        "llama.rope.scaling.type": metadata.text("llama.rope.scaling.type", "none") != "none",
        "llama.rope.scaling.factor": metadata.number("llama.rope.scaling.factor", 1.0) != 1.0,
        "llama.rope.scale_linear": metadata.number("llama.rope.scale_linear", 1.0) != 1.0,
        "llama.attention.causal": not metadata.flag("llama.attention.causal", True),
    }
    for key, is_refused in refused.items():
        if is_refused:
            raise ModelFileError(
                f"{metadata.source}: {key} is {metadata.values[key]!r}, a feature that is not supported yet."
            )
    for name in tensor_names:
        if name.endswith(".bias"):
            raise ModelFileError(f"{metadata.source}: tensor {name}: biases are not supported yet.")
        if name.startswith("rope_freqs"):
            raise ModelFileError(f"{metadata.source}: tensor {name}: rotary scaling is not supported yet.")


def _refuse_config_features(config: ModelMetadata) -> None:
    activation = config.text("hidden_act", "silu")
    rope_type = _config_rope(config).text("rope_type", "default")
    refused = {
        "attention_bias": config.flag("attention_bias", False),
        "mlp_bias": config.flag("mlp_bias", False),
        f"hidden_act {activation!r}": activation != "silu",
        f"rope type {rope_type!r}": rope_type != "default",
    }
    for feature, is_refused in refused.items():
        if is_refused:
            raise ModelFileError(f"{config.source}: {feature} is not supported yet.")


def _config_rope(config: ModelMetadata) -> ModelMetadata:
    """The rotary settings, wherever they are kept: on top, in rope_parameters, or in rope_scaling."""
    own = {"rope_theta": config.values.get("rope_theta")}
    nested = config.values.get("rope_parameters") or config.values.get("rope_scaling") or {}
    legacy_type = {"rope_type": nested["type"]} if "type" in nested else {}
    return ModelMetadata(config.source, {**own, **legacy_type, **nested})


def _checked(source: str, arch: Architecture) -> Architecture:
    if arch.num_heads % arch.num_kv_heads:
        raise ModelFileError(
            f"{source}: {arch.num_heads} query heads cannot share {arch.num_kv_heads} key-value heads evenly."
        )
    if arch.head_dim % 2:
        raise ModelFileError(f"{source}: heads are {arch.head_dim} wide; rotation needs an even width.")
    for name, value in (("norm epsilon", arch.norm_epsilon), ("rope base", arch.rope_base)):
        if not (value > 0 and math.isfinite(value)):
            raise ModelFileError(f"{source}: the {name} is {value}; allowed: finite numbers above 0.")
    return arch
