"""Writes a llama that is in a GGUF file as a model directory: the same tokens, and weights in the bf16 that
the file's stand for.

q and k get their rows in Hugging Face's order, since a config.json rotates halves of a head: their products
are summed in another order then, so that answers may differ in the last bits of a sum.
"""

import json
import pathlib

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE

from octavo.core.metadata import ModelMetadata
from octavo.engine.model_files import Model, open_model
from octavo.models.architecture import Architecture
from octavo.models.decoder_config import config_names
from octavo.text.encoders import pre_tokenizer_of_gguf
from octavo.text.vocabulary import Vocabulary
from octavo.weights.formats import Tensor, expand_to_f32
from octavo.weights.gguf_parts import GGUFParts
from tests.weights.safetensors_bytes import safetensors


def write_directory(source: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """config.json, model.safetensors and the tokenizer's files in the folder, from a GGUF file of a llama."""
    folder.mkdir()
    model = open_model(source)
    (folder / "config.json").write_text(json.dumps(config_of(model.architecture)))
    (folder / "model.safetensors").write_bytes(safetensors(tensors_of(model)))
    with GGUFParts.open(source) as file:
        write_tokenizer(file.description, folder)
    return folder


def config_of(arch: Architecture) -> dict[str, object]:
    rope = arch.layer_kinds[0].rope
    assert rope is not None
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "num_hidden_layers": arch.num_layers,
        "hidden_size": arch.hidden_size,
        "intermediate_size": arch.ffn_size,
        "num_attention_heads": arch.num_heads,
        "num_key_value_heads": arch.num_kv_heads,
        "head_dim": arch.head_dim,
        "vocab_size": arch.vocab_size,
        "max_position_embeddings": arch.max_position,
        "rms_norm_eps": arch.norm_epsilon,
        "rope_theta": rope.base,
        "tie_word_embeddings": arch.is_embedding_tied,
    }


def tensors_of(model: Model) -> dict[str, np.ndarray]:
    """By Hugging Face's names: matrices as bits of bf16, norms as fp32."""
    arch, parts = model.architecture, model.checkpoint.parts
    return {name: stored(part, parts[part], arch) for part, name in config_names(arch).items()}


def stored(part: str, tensor: Tensor, arch: Architecture) -> np.ndarray:
    values = expand_to_f32(tensor)
    if values.shape[1] == 1:
        return values.reshape(-1)
    if part.endswith((".q", ".k")):
        values = halves_order(values, arch)
    return rounded(values)


def rounded(values: np.ndarray) -> np.ndarray:
    """Bits of bf16, as octavo rounds weights: add half, mask."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x8000)) >> 16).astype(np.uint16)


def halves_order(values: np.ndarray, arch: Architecture) -> np.ndarray:
    """Rows of each head from (0, 1), (2, 3) ... pairs to (0, d/2), (1, d/2 + 1) ..."""
    pairs = values.reshape(-1, arch.head_dim // 2, 2, arch.hidden_size)
    return pairs.transpose(0, 2, 1, 3).reshape(values.shape)


def write_tokenizer(metadata: ModelMetadata, folder: pathlib.Path) -> None:
    vocabulary, pre_tokenizer = Vocabulary.of_gguf(metadata), pre_tokenizer_of_gguf(metadata)
    merges = [tuple(merge.split(" ", 1)) for merge in metadata.strings("tokenizer.ggml.merges")]
    library = Tokenizer(
        BPE(dict(vocabulary.ids), merges, ignore_merges=pre_tokenizer.is_whole_word_first)  # type: ignore[arg-type]
    )
    library.pre_tokenizer = pre_tokenizer.build()
    library.decoder = decoders.ByteLevel()
    control = [vocabulary.tokens[token_id] for token_id in sorted(vocabulary.control_ids)]
    library.add_special_tokens([AddedToken(token, normalized=False) for token in control])
    library.save(str(folder / "tokenizer.json"))
    named = {"bos_token": vocabulary.bos_id, "eos_token": vocabulary.eos_id}
    config = {key: vocabulary.tokens[token_id] for key, token_id in named.items() if token_id is not None}
    config["chat_template"] = metadata.text("tokenizer.chat_template")
    config["add_bos_token"] = metadata.flag("tokenizer.ggml.add_bos_token", False)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
