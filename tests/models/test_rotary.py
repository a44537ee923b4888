"""Rotary frequencies are those of transformers, and accurate where that computes in single precision."""

import numpy as np
import pytest
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from octavo.core.metadata import ModelMetadata
from octavo.models.decoder_config import rope_of_config
from octavo.models.rotary import FactorScaling, Rope, RopePairing, exp, log

SETTINGS = {
    "linear": {"factor": 4.0},
    "llama3": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 512},
    "yarn-given": {
        "factor": 16.0, "original_max_position_embeddings": 512, "attention_factor": 0.8, "beta_fast": 24.0,
        "beta_slow": 2.0, "truncate": False,
    },
    "yarn-mscale": {
        "factor": 16.0, "original_max_position_embeddings": 512, "mscale": 0.7, "mscale_all_dim": 1.1,
    },
    "longrope": {
        "short_factor": [1.0 + 0.1 * i for i in range(16)], "long_factor": [2.0] * 16, "factor": 4.0,
        "original_max_position_embeddings": 512,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_scaled_frequencies_are_those_of_transformers(name: str) -> None:
    kind = name.split("-")[0]
    rope = {"rope_type": kind, "rope_theta": 50000.0, **SETTINGS[name]}
    config = transformers.LlamaConfig(
        hidden_size=128, num_attention_heads=4, max_position_embeddings=2048, rope_parameters=rope
    )
    expected, factor = ROPE_INIT_FUNCTIONS[kind](config, device="cpu")
    ours = rope_of_config(ModelMetadata("config.json", config.to_dict()), 32)
    np.testing.assert_allclose(ours.frequencies(), expected.numpy(), rtol=2e-6)
    assert ours.attention_factor == pytest.approx(factor, rel=1e-12)


def test_a_factor_tensor_leaves_the_frequencies_to_the_back_end() -> None:
    plain = Rope(10000.0, RopePairing.HALVES, 8)
    by_tensor = Rope(10000.0, RopePairing.HALVES, 8, FactorScaling(None, 1.5))
    assert by_tensor.has_factor_tensor and not plain.has_factor_tensor
    assert by_tensor.frequencies() == plain.frequencies()
    assert by_tensor.attention_factor == 1.5


def test_scalar_functions() -> None:
    for x in (1e-8, 0.3, 0.75, 1.0, 1.5, 10.0, 1e6):
        assert log(x) == pytest.approx(np.log(x), rel=1e-15, abs=1e-16)
    for x in (-30.0, -1.0, 0.0, 0.5, 20.0):
        assert exp(x) == pytest.approx(np.exp(x), rel=1e-15)
