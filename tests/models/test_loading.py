import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.models.loading import from_config, from_gguf, part_shapes
from octavo.models.lowering import lower

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 1,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 260,
}


def test_an_unsupported_architecture_is_named_with_the_supported_ones() -> None:
    metadata = ModelMetadata("m.gguf", {"general.architecture": "mamba"})
    with pytest.raises(
        ModelFileError, match=r"m\.gguf: .*'mamba' is not supported; supported: gemma2, gemma3,"
    ):
        from_gguf(metadata, ())
    with pytest.raises(
        ModelFileError, match=r"'GPT2LMHeadModel' is not supported; supported: Gemma2ForCausalLM"
    ):
        from_config(ModelMetadata("config.json", CONFIG | {"architectures": ["GPT2LMHeadModel"]}))
    with pytest.raises(ModelFileError, match=r"general\.architecture is missing"):
        from_gguf(ModelMetadata("m.gguf", {}), ())


def test_a_config_is_known_by_its_class_or_its_model_type() -> None:
    arch, names = from_config(ModelMetadata("config.json", CONFIG))
    assert arch.family == "llama"
    assert names["embedding"] == "model.embed_tokens.weight"
    by_type = {key: value for key, value in CONFIG.items() if key != "architectures"} | {
        "model_type": "llama"
    }
    assert from_config(ModelMetadata("config.json", by_type))[0] == arch


def test_part_shapes_are_those_of_the_stacked_weights() -> None:
    shapes = part_shapes(lower(from_config(ModelMetadata("config.json", CONFIG))[0]))
    assert shapes["layers.0.q"] == (32, 32)
    assert shapes["layers.0.k"] == shapes["layers.0.v"] == (16, 32)
    assert shapes["layers.0.down"] == (32, 48)
    assert shapes["final_norm"] == (32, 1)
    assert shapes["head"] == shapes["embedding"] == (260, 32)
