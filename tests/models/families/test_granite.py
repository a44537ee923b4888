import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.models.families import granite
from tests.models.families.test_llama import CONFIG


def test_multipliers_are_read_and_default_to_one() -> None:
    plain = granite.architecture_of_config(ModelMetadata("config.json", CONFIG))
    assert (plain.embedding_scale, plain.residual_scale, plain.logits_scale) == (1.0, 1.0, 1.0)
    assert plain.attention_scale == 1.0
    scaled = CONFIG | {"logits_scaling": 8.0, "residual_multiplier": 0.22}
    arch = granite.architecture_of_config(ModelMetadata("config.json", scaled))
    assert (arch.logits_scale, arch.residual_scale) == (0.125, 0.22)


def test_logits_are_not_divided_by_zero() -> None:
    with pytest.raises(ModelFileError, match=r"logits_scaling is 0\.0"):
        granite.architecture_of_config(ModelMetadata("config.json", CONFIG | {"logits_scaling": 0.0}))
