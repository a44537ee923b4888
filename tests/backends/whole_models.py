"""A whole model beside transformers in fp32, over real text: what every accuracy test of one does."""

import argparse
import decimal
import inspect
import pathlib
from collections.abc import Iterable

import numpy as np
import torch
import transformers

from octavo.backends.base import StepLimits
from octavo.backends.cpu.backend import CpuBackend
from octavo.core.activation_dtype import ActivationDType
from octavo.core.kv_dtype import KVDType
from octavo.core.metadata import ModelMetadata
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import NO_LOGPROBS, NO_MASK, Admission, StepInput
from octavo.engine.model_files import Model, open_text
from octavo.models.digits import with_digits
from octavo.models.loading import from_config
from octavo.models.program import Program
from octavo.weights.formats import Tensor, expand_to_f32
from tests.backends.comparison import Comparison
from tests.models.as_directory import halves_order


def compared(
    model: Model,
    oracle: transformers.PreTrainedModel,
    texts: Iterable[list[int]],
    max_length: int,
    *,
    last: int = 0,
    kv_dtype: KVDType = KVDType.BF16,
    activation_dtype: ActivationDType = ActivationDType.BF16,
) -> Comparison:
    """The logits of each text of at most max_length tokens, at every step or at the `last` ones."""
    program = model.program.with_kv_dtype(kv_dtype)
    if activation_dtype is ActivationDType.INT8:
        program = with_digits(program)
    backend = backend_of(program, model.checkpoint.parts, max_length)
    comparison = Comparison()
    for token_ids in texts:
        with torch.no_grad():
            theirs = oracle(torch.tensor([token_ids])).logits[0].numpy()
        ours = all_logits(backend, token_ids, len(model.program.kv_groups))
        comparison.add(ours[-last:], theirs[-last:])
    backend.close()
    return comparison


def all_logits(backend: CpuBackend, token_ids: list[int], num_kv_groups: int = 1) -> np.ndarray:
    """The logits of every row, from one forward pass."""
    count = len(token_ids)
    rows = np.arange(count, dtype=np.int32)
    per_group = -(-count // 16)
    blocks = [(0, g, i, g * per_group + i) for g in range(num_kv_groups) for i in range(per_group)]
    tokens = np.array(token_ids, np.int32)
    greedy = SamplingParams(temperature=0)
    zeros, none = np.zeros(count, np.int32), np.zeros(0, np.int32)
    step = StepInput(
        step_id=1, epoch=0, admitted=(Admission(0, tokens, count, greedy, seed=0),), released=none,
        copies=none.reshape(0, 3), new_blocks=np.array(blocks, np.int32), slot=zeros[:1],
        query_start=np.array([0, count], np.int32), num_computed=zeros[:1], token_ids=tokens,
        output_row=rows, output_slot=zeros, output_kind=zeros, target=zeros - 1,
        num_logprobs=zeros + NO_LOGPROBS, mask_row=zeros + NO_MASK,
    )  # fmt: skip
    backend.submit(step)
    return backend.buffer(Program.logits, count)


def backend_of(program: Program, tensors: dict[str, Tensor], max_rows: int) -> CpuBackend:
    limits = StepLimits(max_rows, max_rows, max_rows)
    num_blocks = -(-max_rows // 16) * len(program.kv_groups)
    return CpuBackend(program, tensors, limits, num_blocks, num_threads=2)


def oracle_of(model: Model) -> transformers.LlamaForCausalLM:
    """The same weights in transformers: fp32 values of the file, q and k back in Hugging Face's order."""
    arch = model.architecture
    config = transformers.LlamaConfig(
        vocab_size=arch.vocab_size, hidden_size=arch.hidden_size, intermediate_size=arch.ffn_size,
        num_hidden_layers=arch.num_layers, num_attention_heads=arch.num_heads, head_dim=arch.head_dim,
        num_key_value_heads=arch.num_kv_heads, max_position_embeddings=arch.max_position,
        rms_norm_eps=arch.norm_epsilon, rope_theta=arch.layer_kinds[0].rope.base,
        tie_word_embeddings=arch.is_embedding_tied,
    )  # fmt: skip
    _, names = from_config(
        ModelMetadata("config.json", config.to_dict() | {"architectures": ["LlamaForCausalLM"]})
    )
    state = {}
    for part, name in names.items():
        values = expand_to_f32(model.checkpoint.parts[part])
        if part.endswith((".q", ".k")):
            values = halves_order(values, arch)
        state[name] = torch.tensor(values.reshape(-1) if values.shape[1] == 1 else values)
    oracle = transformers.LlamaForCausalLM(config).eval()
    oracle.load_state_dict(state, strict=False)
    oracle.tie_weights()
    return oracle


def passages(path: pathlib.Path, count: int, length: int) -> list[list[int]]:
    """Real text: a licence and the documentation of Python's standard library."""
    tokenizer = open_text(path).tokenizer
    licence = (pathlib.Path(__file__).parents[2] / "LICENSE").read_text()
    text = licence + "".join(
        inspect.getdoc(thing) or ""
        for thing in (argparse, decimal, decimal.Decimal, inspect, pathlib, str, dict)
    )
    token_ids = tokenizer.encode(text, allow_special=False)
    starts = np.linspace(0, len(token_ids) - length, count).astype(int)
    return [token_ids[start : start + length] for start in starts]
