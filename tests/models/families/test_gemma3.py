import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import LayerKind
from octavo.models.families import gemma3
from octavo.models.rotary import LinearScaling, Rope, RopePairing
from tests.models.families.test_llama import CONFIG, GGUF, TENSORS

SETTINGS = {key: value for key, value in CONFIG.items() if key != "rope_theta"} | {
    "head_dim": 8, "num_hidden_layers": 8, "sliding_window": 64, "query_pre_attn_scalar": 16,
}  # fmt: skip
METADATA = {key.replace("llama", "gemma3"): value for key, value in GGUF.items()} | {
    "gemma3.block_count": 8, "gemma3.rope.freq_base": 1e6, "gemma3.attention.sliding_window": 64,
}  # fmt: skip
LOCAL = LayerKind(Rope(10000.0, RopePairing.HALVES, 8), 64)
FULL = LayerKind(Rope(1e6, RopePairing.HALVES, 8))
STRETCHED = LayerKind(Rope(1e6, RopePairing.HALVES, 8, LinearScaling(8.0)))


def of_config(**settings: object):
    return gemma3.architecture_of_config(ModelMetadata("config.json", SETTINGS | settings))


def of_gguf(**metadata: object):
    prefixed = {f"gemma3.{key}": value for key, value in metadata.items()}
    return gemma3.architecture_of_gguf(ModelMetadata("m.gguf", METADATA | prefixed), TENSORS * 4)


def test_five_of_six_layers_see_a_window_and_rotate_by_another_base() -> None:
    expected = (LOCAL, LOCAL, LOCAL, LOCAL, LOCAL, FULL, LOCAL, LOCAL)
    assert of_config().kinds_used == expected
    assert of_gguf().kinds_used == expected
    assert of_config(sliding_window_pattern=2).kinds_used == (LOCAL, FULL) * 4
    assert of_gguf(**{"attention.sliding_window_pattern": 2}).kinds_used == (LOCAL, FULL) * 4


def test_scaling_concerns_full_layers_only() -> None:
    older = of_config(rope_scaling={"rope_type": "linear", "factor": 8.0})
    assert older.kinds_used[4:6] == (LOCAL, STRETCHED)
    by_type = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    }
    assert of_config(rope_parameters=by_type).kinds_used == older.kinds_used
    gguf = of_gguf(**{"rope.scaling.type": "linear", "rope.scaling.factor": 8.0})
    assert gguf.kinds_used == older.kinds_used


def test_layer_types_decide_where_they_are_given() -> None:
    types = ["full_attention"] * 2 + ["sliding_attention"] * 6
    assert of_config(layer_types=types).kinds_used == (FULL,) * 2 + (LOCAL,) * 6
    # A window as long as the context hides nothing, but the layer keeps its base.
    long = of_config(layer_types=types, sliding_window=128)
    assert long.kinds_used[2] == LayerKind(LOCAL.rope)


def test_a_pattern_longer_than_the_model_is_refused() -> None:
    with pytest.raises(ModelFileError, match="sliding_window_pattern is 9"):
        of_gguf(**{"attention.sliding_window_pattern": 9})
