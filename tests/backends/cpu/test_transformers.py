"""The native executor against Hugging Face transformers in fp32, the oracle from outside.

Tiny random models bound the error of the arithmetic; SmolLM2, fed the same real text, bounds what it does to
a model's predictions.
"""

import pathlib
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from octavo.config import EngineConfig, Environment
from octavo.core.activation_dtype import ActivationDType
from octavo.core.kv_dtype import KVDType
from octavo.core.messages import Submit
from octavo.core.metadata import ModelMetadata
from octavo.core.request import Pooling
from octavo.core.sampling_params import SamplingParams
from octavo.engine.core import NullJournal
from octavo.engine.loader import load_engine
from octavo.engine.model_files import Model, open_model
from octavo.models.loading import from_config, part_shapes
from octavo.models.lowering import lower
from octavo.weights.checkpoint import Checkpoint
from tests.backends.comparison import MAX_ERROR
from tests.backends.whole_models import all_logits, backend_of, compared, oracle_of, passages

MIN_DECISIVE = 0.6  # share of steps whose oracle margin exceeds twice the step's largest error
MIN_COSINE = 0.9999  # of embeddings
MIN_AGREED = 0.95  # share of all steps, decisive or not, with the oracle's argmax
MAX_INT8_ERROR = 0.05  # of the oracle's logit range, with an int8 KV cache
MIN_INT8_DECISIVE = 0.5
MAX_DIGITS_ERROR = 0.15  # with int8 activations
MIN_DIGITS_DECISIVE = 0.3


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


@pytest.fixture(scope="module")
def smollm2(smollm2_path: pathlib.Path) -> tuple[Model, transformers.LlamaForCausalLM]:
    model = open_model(smollm2_path)
    return model, oracle_of(model)


@pytest.mark.parametrize(
    ("dtypes", "max_error", "min_decisive"),
    [
        ({}, MAX_ERROR, MIN_DECISIVE),
        ({"kv_dtype": KVDType.INT8}, MAX_INT8_ERROR, MIN_INT8_DECISIVE),
        ({"activation_dtype": ActivationDType.INT8}, MAX_DIGITS_ERROR, MIN_DIGITS_DECISIVE),
    ],
    ids=["bf16", "int8 cache", "int8 activations"],
)
def test_smollm2_on_real_text(
    smollm2: tuple[Model, transformers.LlamaForCausalLM],
    smollm2_path: pathlib.Path,
    pytestconfig: pytest.Config,
    dtypes: dict[str, Any],
    max_error: float,
    min_decisive: float,
) -> None:
    """Twenty passages with --full, three otherwise."""
    model, oracle = smollm2
    num_passages = 20 if pytestconfig.getoption("--full") else 3
    texts = passages(smollm2_path, num_passages, 200)
    comparison = compared(model, oracle, texts, 208, **dtypes)
    comparison.check(comparison.errors, max_error=max_error, min_decisive=min_decisive, min_agreed=MIN_AGREED)
    by_largest = comparison.decisive(comparison.errors.max())
    print(f"decisive by the largest error of all {by_largest.mean():.1%}")


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
