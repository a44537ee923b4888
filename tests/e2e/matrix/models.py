"""The models of the exactness matrix: tiny random ones of four families as directories, one of quantized
weights as a GGUF file, and the built-in one.

A directory holds what a hub's does, with a tokenizer whose tokens are bytes, so that the engine process, the
server and the Python API open it like any other.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from octavo.core.activation_dtype import ActivationDType
from octavo.core.kv_dtype import KVDType
from octavo.core.metadata import ModelMetadata
from octavo.decoding.grammar import GrammarCompiler
from octavo.engine.model_files import Model, open_model, open_text, open_vocabulary
from octavo.models.digits import with_digits
from octavo.models.loading import from_config, part_shapes
from octavo.models.lowering import lower
from octavo.models.program import Program
from octavo.weights.formats import Tensor, TensorFormat
from tests.text import tiny_directory
from tests.weights.blocks import model_blocks
from tests.weights.gguf_bytes import U32, model_file, tiny_metadata, value
from tests.weights.safetensors_bytes import safetensors

_BASE = {
    "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512,
}  # fmt: skip
_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "llama": {"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True, "rope_theta": 10000.0},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "num_attention_heads": 6},
    "gemma3": {
        "architectures": ["Gemma3ForCausalLM"],
        "sliding_window": 20, "query_pre_attn_scalar": 16, "num_hidden_layers": 4,
        "sliding_window_pattern": 3, "tie_word_embeddings": True, "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
            "full_attention": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0},
        },
    },
    "qwen3-moe": {
        "architectures": ["Qwen3MoeForCausalLM"],
        "num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 48, "norm_topk_prob": True,
        "mlp_only_layers": [], "decoder_sparse_step": 1,
    },
}  # fmt: skip
TINY_FAMILIES = tuple(_CONFIGS)
WITH_INT8_CACHE = "gemma3, int8"
WITH_INT8_ACTIVATIONS = "llama, quantized, int8"
BUILT_IN = "smollm2"


@dataclasses.dataclass(frozen=True)
class MatrixModel:
    """A model on disk, opened. max_tokens: how long the matrix' answers are."""

    path: pathlib.Path
    max_tokens: int
    prompt_lengths: tuple[int, ...]
    kv_dtype: KVDType = KVDType.BF16
    activation_dtype: ActivationDType = ActivationDType.BF16

    @property
    def vocab_size(self) -> int:
        return self.weights.architecture.vocab_size

    @functools.cached_property
    def weights(self) -> Model:
        return open_model(self.path)

    @property
    def program(self) -> Program:
        program = self.weights.program.with_kv_dtype(self.kv_dtype)
        return with_digits(program) if self.activation_dtype is ActivationDType.INT8 else program

    @functools.cached_property
    def grammars(self) -> GrammarCompiler:
        load = functools.partial(open_vocabulary, self.path)
        return GrammarCompiler(load, self.vocab_size, self.weights.end_ids)

    def text(self, token_ids: list[int]) -> str:
        return self._tokenizer.decode(token_ids, skip_control=True)

    @functools.cached_property
    def _tokenizer(self) -> Any:
        return open_text(self.path).tokenizer


def write_tiny(
    family: str, folder: pathlib.Path, tokens: Sequence[str] = (), **tokenizer_config: Any
) -> pathlib.Path:
    """A model directory in a new folder: config.json, model.safetensors, tokenizer files.

    tokens: of the vocabulary, besides its 267.
    """
    folder.mkdir()
    library = tiny_directory.llama3()
    library.add_tokens(list(tokens))
    config = {**_BASE, **_CONFIGS[family], "vocab_size": library.get_vocab_size()}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors(_random_tensors(config)))
    tiny_directory.write(folder, library, **tokenizer_config)
    return folder


def write_quantized(path: pathlib.Path) -> pathlib.Path:
    """A llama whose every kind of matrix has a format of its own."""
    metadata = tiny_metadata() | {
        f"llama.{key}": value(U32, number)
        for key, number in {
            "context_length": 512, "embedding_length": 256, "feed_forward_length": 512,
            "attention.key_length": 16, "attention.value_length": 16, "rope.dimension_count": 16,
        }.items()
    }  # fmt: skip
    rows_columns = {"token_embd": (260, 256)}
    for layer in range(2):
        rows_columns |= {
            f"blk.{layer}.{name}": shape
            for name, shape in {
                "attn_q": (64, 256), "attn_k": (32, 256), "attn_v": (32, 256), "attn_output": (256, 64),
                "ffn_gate": (512, 256), "ffn_up": (512, 256), "ffn_down": (256, 512),
            }.items()
        }  # fmt: skip
    rng = np.random.default_rng(8)
    norms = ["output_norm", *(f"blk.{layer}.{name}_norm" for layer in range(2) for name in ("attn", "ffn"))]
    tensors = {f"{name}.weight": (1 + 0.3 * rng.normal(size=256)).astype(np.float32) for name in norms}
    blocks = {}
    for seed, (name, (rows, columns)) in enumerate(rows_columns.items()):
        format = _FORMATS[name.rpartition(".")[2]]
        data = model_blocks(format, rows * columns // format.block_size, seed).reshape(-1)
        tensors[f"{name}.weight"] = np.empty((rows, columns), np.float32)
        blocks[f"{name}.weight"] = Tensor(name, format, rows, columns, data)
    path.write_bytes(model_file(metadata, tensors, blocks))
    return path


_FORMATS = {
    "token_embd": TensorFormat.Q6_K, "attn_q": TensorFormat.Q4_K, "attn_k": TensorFormat.Q8_0,
    "attn_v": TensorFormat.Q6_K, "attn_output": TensorFormat.Q5_1, "ffn_gate": TensorFormat.Q4_1,
    "ffn_up": TensorFormat.Q4_0, "ffn_down": TensorFormat.Q5_K,
}  # fmt: skip


def _random_tensors(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """fp32, fp16 and bf16 matrices by turns. Their values are of all sizes, so that nearly every addition
    rounds, and another order of a sum gives other bits."""
    rng = np.random.default_rng(6)
    arch, names = from_config(ModelMetadata("matrix", dict(config)))
    tensors = {}
    for i, (part, (rows, columns)) in enumerate(part_shapes(lower(arch)).items()):
        if columns == 1:
            values = 1 + 0.3 * rng.normal(size=rows)
        else:
            sizes = np.exp2(rng.uniform(-8, 2, (rows, columns)))
            values = rng.normal(size=(rows, columns)) * sizes * columns**-0.5
        tensors[str(names[part])] = _stored(values.astype(np.float32), i % 3)
    return tensors


def _stored(values: np.ndarray, kind: int) -> np.ndarray:
    if kind == 0 or values.ndim == 1:
        return values
    return values.astype(np.float16) if kind == 1 else (values.view(np.uint32) >> 16).astype(np.uint16)
