import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.models.families import smollm3
from tests.models.families.test_llama import CONFIG

SETTINGS = CONFIG | {"num_hidden_layers": 6}


def has_rope(**settings: object) -> list[bool]:
    arch = smollm3.architecture_of_config(ModelMetadata("config.json", SETTINGS | settings))
    return [kind.rope is not None for kind in arch.kinds_used]


def test_every_fourth_layer_does_without_positions() -> None:
    assert has_rope() == [True, True, True, False, True, True]
    assert has_rope(no_rope_layer_interval=2) == [True, False] * 3
    assert has_rope(no_rope_layers=[0, 1, 1, 1, 1, 0]) == [False, True, True, True, True, False]


def test_windows_only_if_asked_for() -> None:
    def windows(**settings: object) -> list[int | None]:
        config = ModelMetadata("config.json", SETTINGS | {"sliding_window": 64} | settings)
        return [kind.window for kind in smollm3.architecture_of_config(config).kinds_used]

    types = ["sliding_attention"] * 5 + ["full_attention"]
    assert windows(layer_types=types) == [None] * 6
    assert windows(layer_types=types, use_sliding_window=True) == [64] * 5 + [None]


def test_there_is_a_number_for_each_layer() -> None:
    with pytest.raises(ModelFileError, match="no_rope_layers"):
        has_rope(no_rope_layers=[1, 0])
