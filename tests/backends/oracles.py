"""Tiny random models of any family: in transformers, as a config with its checkpoint, and as a GGUF file."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from safetensors.numpy import load_file

from octavo.core.metadata import ModelMetadata
from octavo.models.loading import from_config, from_gguf, part_shapes
from octavo.models.lowering import lower
from octavo.models.program import Program
from octavo.weights.checkpoint import Checkpoint
from octavo.weights.formats import Tensor
from octavo.weights.gguf import GGUFFile
from tests.weights.gguf_bytes import BOOL, F32, STRING, U32, array, model_file, value

Model = tuple[Program, dict[str, Tensor]]

BASE = {
    "vocab_size": 256, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512,
    "initializer_range": 0.15, "tie_word_embeddings": False, "pad_token_id": 0,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Tiny:
    """settings: of the family's config class; gguf: the metadata that llama.cpp's converter would write
    beside the usual."""

    family: str
    model: type[transformers.PreTrainedModel]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    gguf: dict[str, Any] = dataclasses.field(default_factory=dict)
    gguf_architecture: str = ""
    is_permuted: bool = False  # rows of q and k, in GGUF files
    norm_offset: float = 0.0  # that GGUF files have added to norm weights
    gguf_tensors: Callable[[Any], dict[str, np.ndarray]] = lambda config: {}

    def oracle(self) -> transformers.PreTrainedModel:
        torch.manual_seed(0)
        model = self.model(self.model.config_class(**BASE | self.settings)).eval()
        with torch.no_grad():  # what starts as ones or zeros would hide a mistake
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.3)
                    assert name
        return model


def of_config(oracle: transformers.PreTrainedModel, folder: pathlib.Path) -> Model:
    """From the directory that transformers saves."""
    arrays = _saved(oracle, folder)
    config = json.loads((folder / "config.json").read_text())
    arch, names = from_config(ModelMetadata("config.json", config))
    program = lower(arch)
    tensors = {name: Tensor.of(name, array) for name, array in arrays.items()}
    return program, dict(Checkpoint.of_file("saved", tensors, names, part_shapes(program)).parts)


def _saved(oracle: transformers.PreTrainedModel, folder: pathlib.Path) -> dict[str, np.ndarray]:
    """By the names that checkpoints have on disk."""
    oracle.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def of_gguf(tiny: Tiny, oracle: transformers.PreTrainedModel, folder: pathlib.Path) -> Model:
    """As llama.cpp's converter writes it: tensor names by the gguf package's map."""
    path = folder / "tiny.gguf"
    path.write_bytes(model_file(_gguf_metadata(tiny, oracle.config), _gguf_arrays(tiny, oracle, folder)))
    file = GGUFFile.open(path)
    arch, names = from_gguf(ModelMetadata(str(path), file.metadata), file.tensors.keys())
    program = lower(arch)
    return program, dict(Checkpoint.of_file(str(path), file.tensors, names, part_shapes(program)).parts)


def _gguf_metadata(tiny: Tiny, config: Any) -> dict[str, bytes]:
    prefix = tiny.gguf_architecture or tiny.family
    usual = {
        "block_count": config.num_hidden_layers, "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size, "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps, "attention.key_length": 16,
        "attention.value_length": 16, "vocab_size": config.vocab_size, "rope.freq_base": 10000.0,
    }  # fmt: skip
    values = {f"{prefix}.{key}": _typed(item) for key, item in {**usual, **tiny.gguf}.items()}
    return {"general.architecture": value(STRING, prefix), **values}


def _typed(item: Any) -> bytes:
    if isinstance(item, list):
        return array(BOOL if isinstance(item[0], bool) else F32, item)
    kinds = {bool: BOOL, int: U32, float: F32, str: STRING}
    return value(kinds[type(item)], item)


def _gguf_arrays(
    tiny: Tiny, oracle: transformers.PreTrainedModel, folder: pathlib.Path
) -> dict[str, np.ndarray]:
    config, arrays = oracle.config, {}
    prefix = tiny.gguf_architecture or tiny.family
    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == prefix)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, values in _stacked(_saved(oracle, folder)).items():
        if tiny.is_permuted and ("q_proj" in name or "k_proj" in name):
            values = _interleaved(values, 16)
        if "norm" in name:
            values = values + np.float32(tiny.norm_offset)
        arrays[names.get_name(name, try_suffixes=(".weight", ".bias"))] = values
    assert None not in arrays
    return arrays | tiny.gguf_tensors(config)


def _stacked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Experts of one layer as one tensor."""
    stacks: dict[str, dict[int, np.ndarray]] = {}
    for name in list(arrays):
        if found := re.fullmatch(r"(.*\.experts)\.(\d+)(\..*)", name):
            stacks.setdefault(found[1] + found[3], {})[int(found[2])] = arrays.pop(name)
    return arrays | {name: np.stack([stack[i] for i in range(len(stack))]) for name, stack in stacks.items()}


def _interleaved(values: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of each head from (0, d/2), (1, d/2 + 1) ... pairs to (0, 1), (2, 3) ..."""
    halves = values.reshape(-1, 2, head_dim // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)
