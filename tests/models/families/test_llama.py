import dataclasses
from typing import Any

import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Architecture, LayerKind
from octavo.models.families import llama
from octavo.models.loading import part_shapes
from octavo.models.lowering import lower
from octavo.models.rotary import FactorScaling, LinearScaling, Llama3Scaling, Rope, RopePairing, YarnScaling

GGUF = {
    "llama.block_count": 2,
    "llama.context_length": 128,
    "llama.embedding_length": 32,
    "llama.feed_forward_length": 48,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 5e5,
    "llama.vocab_size": 260,
}
CONFIG = {
    "num_hidden_layers": 2,
    "max_position_embeddings": 128,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5e5,
    "vocab_size": 260,
    "tie_word_embeddings": True,
}
EXPECTED = Architecture(
    family="llama",
    num_layers=2,
    hidden_size=32,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    ffn_size=48,
    vocab_size=260,
    max_position=128,
    norm_epsilon=1e-5,
    layer_kinds=(LayerKind(Rope(5e5, RopePairing.INTERLEAVED, 8)),),
    is_embedding_tied=True,
)
TENSORS = tuple(llama.gguf_names(EXPECTED).values())


def of_gguf(changes: dict[str, Any], tensors: tuple[str, ...] = TENSORS) -> Architecture:
    values = {key: value for key, value in (GGUF | changes).items() if value is not None}
    return llama.architecture_of_gguf(ModelMetadata("m.gguf", values), tensors)


def of_config(changes: dict[str, Any]) -> Architecture:
    values = {key: value for key, value in (CONFIG | changes).items() if value is not None}
    return llama.architecture_of_config(ModelMetadata("config.json", values))


def rope_of(arch: Architecture) -> Rope:
    return arch.layer_kinds[0].rope


def test_gguf_metadata_gives_the_architecture() -> None:
    assert of_gguf({}) == EXPECTED


def test_gguf_defaults() -> None:
    arch = of_gguf({"llama.attention.head_count_kv": None, "llama.rope.freq_base": None})
    assert (arch.num_kv_heads, rope_of(arch).base) == (4, 10000.0)
    tokens = {"llama.vocab_size": None, "tokenizer.ggml.tokens": ["a", "b", "c"]}
    assert of_gguf(tokens).vocab_size == 3
    wide = {
        "llama.attention.key_length": 16,
        "llama.attention.value_length": 16,
        "llama.rope.dimension_count": 16,
    }
    assert of_gguf(wide).head_dim == 16


def test_an_output_tensor_means_an_output_head_of_its_own() -> None:
    arch = of_gguf({}, (*TENSORS, "output.weight"))
    assert not arch.is_embedding_tied
    assert llama.gguf_names(arch)["head"] == "output.weight"


@pytest.mark.parametrize(
    "key", [key for key in GGUF if key not in ("llama.attention.head_count_kv", "llama.rope.freq_base")]
)
def test_a_missing_key_is_named(key: str) -> None:
    named = "tokenizer.ggml.tokens" if key == "llama.vocab_size" else key
    with pytest.raises(ModelFileError, match=f"m.gguf: metadata key {named} is missing"):
        of_gguf({key: None})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.block_count", 4),  # more than there are tensors for
        ("llama.block_count", 2**32 - 1),
        ("llama.block_count", 0),
        ("llama.embedding_length", "32"),
        ("llama.attention.head_count_kv", [2, 2]),
        ("llama.attention.value_length", 16),
        ("llama.rope.dimension_count", 5),
        ("llama.rope.dimension_count", 16),
        ("llama.rope.scaling.type", "dynamic"),
        ("llama.attention.causal", False),
        ("llama.residual_scale", 0.1),
        ("llama.final_logit_softcapping", 30.0),
    ],
)
def test_values_and_features_that_do_not_fit_are_named(key: str, value: Any) -> None:
    with pytest.raises(ModelFileError, match=f"m.gguf: .*{key}"):
        of_gguf({key: value})


def test_biases_and_windows_come_from_the_file() -> None:
    biased = of_gguf({}, (*TENSORS, "blk.0.attn_q.bias", "blk.0.ffn_down.bias"))
    assert (biased.has_qkv_bias, biased.has_output_bias, biased.has_mlp_bias) == (True, False, True)
    assert llama.gguf_names(biased)["layers.1.k_bias"] == "blk.1.attn_k.bias"
    assert of_gguf({"llama.attention.sliding_window": 32}).layer_kinds[0].window == 32
    assert of_gguf({"llama.attention.sliding_window": 128}).layer_kinds[0].window is None


@pytest.mark.parametrize(
    ("changes", "scaling"),
    [
        ({"scaling.type": "linear", "scaling.factor": 2.0}, LinearScaling(2.0)),
        ({"scaling.factor": 2.0}, LinearScaling(2.0)),
        ({"scale_linear": 2.0}, LinearScaling(2.0)),
        ({"scaling.type": "none", "scaling.factor": 2.0}, None),
        ({"scaling.type": "linear", "scaling.factor": 1.0}, None),
        (
            {"scaling.type": "yarn", "scaling.factor": 1.0, "scaling.original_context_length": 64},
            YarnScaling(1.0, 64, attention_factor=1.0),
        ),
    ],
)
def test_every_spelling_of_rotary_scaling_is_read(changes: dict[str, Any], scaling: object) -> None:
    arch = of_gguf({f"llama.rope.{key}": value for key, value in changes.items()})
    assert rope_of(arch).scaling == scaling


def test_a_factor_tensor_is_a_part_of_the_program() -> None:
    arch = of_gguf({}, (*TENSORS, "rope_freqs.weight"))
    assert rope_of(arch).scaling == FactorScaling(None)
    assert llama.gguf_names(arch)["rope_factors"] == "rope_freqs.weight"
    assert part_shapes(lower(arch))["rope_factors"] == (4, 1)
    with pytest.raises(ModelFileError, match="beside the tensor rope_freqs"):
        of_gguf({"llama.rope.scale_linear": 2.0}, (*TENSORS, "rope_freqs.weight"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"llama.attention.head_count_kv": 3}, "4 query heads cannot share 3"),
        ({"llama.attention.key_length": 3, "llama.rope.dimension_count": 2}, "heads are 3 wide"),
        ({"llama.attention.layer_norm_rms_epsilon": 0.0}, "norm epsilon is 0.0"),
        ({"llama.rope.freq_base": float("inf")}, "freq_base is inf"),
    ],
)
def test_impossible_numbers_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        of_gguf(changes)


def test_a_config_gives_the_same_architecture_with_rotated_halves() -> None:
    halves = LayerKind(Rope(5e5, RopePairing.HALVES, 8))
    assert of_config({}) == dataclasses.replace(EXPECTED, layer_kinds=(halves,))


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
        {"rope_scaling": None},
        {"rope_scaling": {"type": "default"}},
        {"head_dim": 8},
    ],
)
def test_every_spelling_of_plain_rotary_settings_is_read(changes: dict[str, Any]) -> None:
    assert of_config(changes) == of_config({})


@pytest.mark.parametrize(
    ("settings", "scaling"),
    [
        ({"type": "linear", "factor": 2.0}, LinearScaling(2.0)),
        (
            {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
             "original_max_position_embeddings": 64},
            Llama3Scaling(8.0, 1.0, 4.0, 64),
        ),
        (
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
            YarnScaling(4.0, 32),
        ),
        (
            {"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.9, "beta_fast": 16, "truncate": False},
            YarnScaling(4.0, 128, 16.0, 1.0, 0.9, False),
        ),
    ],
)  # fmt: skip
def test_rotary_scaling_is_read(settings: dict[str, Any], scaling: object) -> None:
    assert rope_of(of_config({"rope_scaling": settings})).scaling == scaling


def test_biases_are_read() -> None:
    arch = of_config({"attention_bias": True, "mlp_bias": True})
    assert (arch.has_qkv_bias, arch.has_output_bias, arch.has_mlp_bias) == (True, True, True)
    names = llama.config_names(arch)
    assert names["layers.1.gate_bias"] == "model.layers.1.mlp.gate_proj.bias"
    assert names.keys() == part_shapes(lower(arch)).keys()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 8.0}}, "rope type 'dynamic'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor is missing"),
        ({"rope_scaling": {"type": "linear", "factor": 0.0}}, "factor is 0.0"),
        ({"rope_parameters": [1]}, "rope_parameters"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor"),
        ({"num_hidden_layers": 10**9}, "at most 1000"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"hidden_size": None}, "hidden_size is missing"),
    ],
)
def test_a_config_that_asks_for_more_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelFileError, match=f"config.json: .*{complaint}"):
        of_config(changes)


@pytest.mark.parametrize("is_tied", [True, False])
def test_names_cover_exactly_the_parts_of_the_program(is_tied: bool) -> None:
    arch = dataclasses.replace(EXPECTED, is_embedding_tied=is_tied)
    parts = part_shapes(lower(arch)).keys()
    assert llama.gguf_names(arch).keys() == llama.config_names(arch).keys() == parts
    assert llama.gguf_names(arch)["layers.1.gate"] == "blk.1.ffn_gate.weight"
    assert llama.config_names(arch)["layers.1.o"] == "model.layers.1.self_attn.o_proj.weight"
