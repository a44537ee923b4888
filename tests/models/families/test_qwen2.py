import pytest

from octavo.core.metadata import ModelMetadata
from octavo.models.families import qwen2, qwen3
from tests.models.families.test_llama import CONFIG


@pytest.mark.parametrize("family", [qwen2, qwen3])
def test_windows_begin_at_a_layer_and_only_if_asked_for(family: object) -> None:
    def windows(**settings: object) -> list[int | None]:
        config = ModelMetadata(
            "config.json", CONFIG | {"sliding_window": 64, "num_hidden_layers": 3} | settings
        )
        return [kind.window for kind in family.architecture_of_config(config).kinds_used]

    assert windows() == [None] * 3
    assert windows(use_sliding_window=True) == [None] * 3  # begins at layer 28
    assert windows(use_sliding_window=True, max_window_layers=1) == [None, 64, 64]


def test_q_k_and_v_have_biases_and_o_has_none() -> None:
    arch = qwen2.architecture_of_config(ModelMetadata("config.json", CONFIG))
    names = qwen2.config_names(arch)
    assert names["layers.0.q_bias"] == "model.layers.0.self_attn.q_proj.bias"
    assert "layers.0.o_bias" not in names
