"""What families share in reading a config.json; their own settings are tested with them."""

from typing import Any

import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import LayerKind
from octavo.models.decoder_config import (
    decoder_of_config,
    layer_windows,
    rope_of_config,
    with_defaults,
    with_windows,
)
from tests.models.families.test_llama import CONFIG


def settings(**values: Any) -> ModelMetadata:
    return ModelMetadata("config.json", CONFIG | values)


def test_defaults_fill_what_is_missing_or_null() -> None:
    config = with_defaults(settings(head_dim=None), head_dim=16, hidden_size=999)
    assert decoder_of_config(config, "x").head_dim == 16
    assert decoder_of_config(config, "x").hidden_size == 32


def test_windows_by_layer_types_or_by_the_familys_rule() -> None:
    types = {"layer_types": ["full_attention", "sliding_attention"]}
    assert layer_windows(settings(sliding_window=8, **types), [True, True]) == (None, 8)
    assert layer_windows(settings(sliding_window=8), [True, False]) == (8, None)
    assert layer_windows(settings(sliding_window=128), [True, True]) == (None, None)  # hides nothing
    assert layer_windows(settings(), [False, False]) == (None, None)
    with pytest.raises(ModelFileError, match="sliding_window is missing"):
        layer_windows(settings(), [True, False])
    for wrong in (["full_attention"], ["full_attention", "linear_attention"], 2, ["full_attention", []]):
        with pytest.raises(ModelFileError, match="layer_types"):
            layer_windows(settings(layer_types=wrong), [False, False])


def test_layers_that_are_alike_are_one_kind() -> None:
    arch = decoder_of_config(settings(), "x")
    rope = arch.layer_kinds[0].rope
    assert with_windows(arch, (8, 8)) == (LayerKind(rope, 8),)
    assert with_windows(arch, (8, None)) == (LayerKind(rope, 8), LayerKind(rope))


def test_rotary_settings_by_layer_type() -> None:
    nested = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    config = settings(rope_parameters=nested)
    assert rope_of_config(config, 8, "full_attention").base == 1e6
    assert rope_of_config(config, 8, "sliding_attention").base == 1e4
    assert rope_of_config(settings(partial_rotary_factor=0.5), 8).dim == 4


@pytest.mark.parametrize("factors", [None, [1.0], [1.0, 1.0, 1.0, 0.0], [1.0, 1.0, True, 1.0], "1111"])
def test_longrope_factors_are_checked(factors: object) -> None:
    rope = {"rope_type": "longrope", "short_factor": factors, "original_max_position_embeddings": 64}
    with pytest.raises(ModelFileError, match="short_factor"):
        rope_of_config(settings(rope_scaling=rope), 8)
