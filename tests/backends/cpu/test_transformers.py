"""The native executor against Hugging Face transformers in fp32, the oracle from outside.

Tiny random models bound the error of the arithmetic; SmolLM2, fed the same real text, bounds what it does to
a model's predictions.
"""

import argparse
import decimal
import inspect
import pathlib

import numpy as np
import pytest
import torch
import transformers

from octavo.backends.base import StepLimits
from octavo.backends.cpu.backend import CpuBackend
from octavo.config import EngineConfig, Environment
from octavo.core.kv_dtype import KVDType
from octavo.core.messages import Submit
from octavo.core.metadata import ModelMetadata
from octavo.core.request import Pooling
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import NO_LOGPROBS, NO_MASK, Admission, StepInput
from octavo.engine.core import NullJournal
from octavo.engine.loader import load_engine
from octavo.engine.model_files import Model, open_model, open_text
from octavo.models.architecture import Architecture
from octavo.models.loading import from_config, part_shapes
from octavo.models.lowering import lower
from octavo.models.program import Program
from octavo.weights.checkpoint import Checkpoint
from octavo.weights.formats import Tensor, expand_to_f32
from tests.backends.comparison import MAX_ERROR, Comparison

MIN_DECISIVE = 0.6  # share of steps whose oracle margin exceeds twice the step's largest error
MIN_COSINE = 0.9999  # of embeddings
MIN_AGREED = 0.95  # share of all steps, decisive or not, with the oracle's argmax
MAX_INT8_ERROR = 0.05  # of the oracle's logit range, with an int8 KV cache
MIN_INT8_DECISIVE = 0.5


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


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 16},
        {"num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": 32, "hidden_size": 80},
        {"tie_word_embeddings": True, "intermediate_size": 112, "rope_theta": 500000.0},
        {"num_hidden_layers": 5, "rms_norm_eps": 1e-3, "vocab_size": 333},
    ],
)
@pytest.mark.parametrize(
    ("kv_dtype", "max_error"), [(KVDType.BF16, MAX_ERROR), (KVDType.INT8, MAX_INT8_ERROR)]
)
def test_tiny_random_models(changes: dict[str, object], kv_dtype: KVDType, max_error: float) -> None:
    settings = {
        "vocab_size": 256, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512,
        "initializer_range": 0.15, "tie_word_embeddings": False,
    } | changes  # fmt: skip
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**settings)
    oracle = transformers.LlamaForCausalLM(config).eval()
    arch, names = from_config(
        ModelMetadata("config.json", config.to_dict() | {"architectures": ["LlamaForCausalLM"]})
    )
    state = oracle.state_dict()
    program = lower(arch)
    arrays = {part: state[name].numpy() for part, name in names.items()}
    checkpoint = Checkpoint.of_arrays(arrays, part_shapes(program))
    backend = backend_of(program.with_kv_dtype(kv_dtype), checkpoint.parts, 304)
    token_ids = np.random.default_rng(0).integers(0, settings["vocab_size"], 300).tolist()
    with torch.no_grad():
        expected = oracle(torch.tensor([token_ids])).logits[0].numpy()
    error = np.abs(all_logits(backend, token_ids) - expected).max()
    backend.close()
    assert error <= max_error * (expected.max() - expected.min())


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


def halves_order(values: np.ndarray, arch: Architecture) -> np.ndarray:
    """Rows of each head from (0, 1), (2, 3) ... pairs to (0, d/2), (1, d/2 + 1) ..."""
    pairs = values.reshape(-1, arch.head_dim // 2, 2, arch.hidden_size)
    return pairs.transpose(0, 2, 1, 3).reshape(values.shape)


def passages(path: pathlib.Path, count: int, length: int) -> list[list[int]]:
    """Real text: a licence and the documentation of Python's standard library."""
    tokenizer = open_text(path).tokenizer
    licence = (pathlib.Path(__file__).parents[3] / "LICENSE").read_text()
    text = licence + "".join(
        inspect.getdoc(thing) or ""
        for thing in (argparse, decimal, decimal.Decimal, inspect, pathlib, str, dict)
    )
    token_ids = tokenizer.encode(text, allow_special=False)
    starts = np.linspace(0, len(token_ids) - length, count).astype(int)
    return [token_ids[start : start + length] for start in starts]


@pytest.fixture(scope="module")
def smollm2(smollm2_path: pathlib.Path) -> tuple[Model, transformers.LlamaForCausalLM]:
    model = open_model(smollm2_path)
    return model, oracle_of(model)


@pytest.mark.parametrize(
    ("kv_dtype", "max_error", "min_decisive"),
    [(KVDType.BF16, MAX_ERROR, MIN_DECISIVE), (KVDType.INT8, MAX_INT8_ERROR, MIN_INT8_DECISIVE)],
)
def test_smollm2_on_real_text(
    smollm2: tuple[Model, transformers.LlamaForCausalLM],
    smollm2_path: pathlib.Path,
    pytestconfig: pytest.Config,
    kv_dtype: KVDType,
    max_error: float,
    min_decisive: float,
) -> None:
    """Twenty passages with --full, three otherwise."""
    model, oracle = smollm2
    backend = backend_of(model.program.with_kv_dtype(kv_dtype), model.checkpoint.parts, 208)
    comparison = Comparison()
    for token_ids in passages(smollm2_path, 20 if pytestconfig.getoption("--full") else 3, 200):
        with torch.no_grad():
            theirs = oracle(torch.tensor([token_ids])).logits[0].numpy()
        comparison.add(all_logits(backend, token_ids), theirs)
    backend.close()
    decisive = comparison.decisive(comparison.errors)
    by_largest = comparison.decisive(comparison.errors.max())
    print(
        f"{comparison}, decisive {decisive.mean():.1%} (by the largest error of all {by_largest.mean():.1%})"
    )
    comparison.check_bounds(max_error=max_error)
    assert comparison.agreed[decisive].all()
    assert decisive.mean() >= min_decisive
    assert comparison.agreed.mean() >= MIN_AGREED


def test_embeddings_of_smollm2(
    smollm2: tuple[Model, transformers.LlamaForCausalLM], smollm2_path: pathlib.Path
) -> None:
    """The last layer's hidden states behind the final norm, of the last token and as the mean of all."""
    _, oracle = smollm2
    loaded = load_engine(EngineConfig(max_model_len=256), Environment.read(), NullJournal())
    for number, token_ids in enumerate(passages(smollm2_path, 3, 200)):
        with torch.no_grad():
            states = oracle(torch.tensor([token_ids]), output_hidden_states=True).hidden_states[-1][0].numpy()
        for pooling, theirs in ((Pooling.LAST, states[-1]), (Pooling.MEAN, states.mean(0))):
            submit = Submit(f"{pooling}{number}", token_ids, 200, SamplingParams(), 0, 0.0, pooling=pooling)
            loaded.core.add(submit)
            outputs = []
            while loaded.core.has_work:
                outputs += loaded.core.step()[0]
            ours = np.frombuffer(outputs[-1].pooled or b"", "<f4")
            cosine = np.dot(ours, theirs) / np.linalg.norm(ours) / np.linalg.norm(theirs)
            print(f"{pooling} {number}: cosine {cosine:.7f}")
            assert cosine >= MIN_COSINE
    loaded.core.close()
