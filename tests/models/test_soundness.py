import dataclasses

import pytest

from octavo.core.errors import ModelFileError
from octavo.models.architecture import LayerKind
from octavo.models.rotary import Llama3Scaling, Rope, RopePairing, RopeScaling, YarnScaling
from octavo.models.soundness import checked, checked_rotation
from tests.backends.tiny import TINY


def with_base(base: float) -> dict[str, object]:
    return {"layer_kinds": (LayerKind(None), LayerKind(Rope(base, RopePairing.HALVES, 16)))}


def test_sound_numbers_pass() -> None:
    assert checked("m.gguf", TINY) is TINY
    without_positions = dataclasses.replace(TINY, layer_kinds=(LayerKind(None),))
    assert checked("m.gguf", without_positions) is without_positions


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"num_kv_heads": 4}, "6 query heads cannot share 4 key-value heads"),
        ({"head_dim": 15}, "heads are 15 wide"),
        ({"num_layers": 1001}, "1001 layers; at most 1000"),
        ({"norm_epsilon": 0.0}, "norm epsilon is 0.0"),
        ({"max_position": 1 << 31}, "a context of 2147483648 tokens; at most 1073741824"),
        (with_base(-1.0), "rope base is -1.0"),
        (with_base(float("nan")), "rope base is nan"),
    ],
)
def test_impossible_numbers_are_named(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ModelFileError, match=f"m.gguf: .*{complaint}"):
        checked("m.gguf", dataclasses.replace(TINY, **changes))


@pytest.mark.parametrize(
    ("base", "scaling"),
    [
        (1.0, YarnScaling(4.0, 4096)),
        (10000.0, YarnScaling(4.0, 4096, beta_fast=0.0)),
        (10000.0, YarnScaling(4.0, 4096, attention_factor=float("nan"))),
        (10000.0, Llama3Scaling(0.0, 1.0, 4.0, 8192)),
    ],
)
def test_rotary_settings_without_frequencies_are_refused(base: float, scaling: RopeScaling) -> None:
    rope = Rope(base, RopePairing.HALVES, 16, scaling)
    arch = dataclasses.replace(TINY, layer_kinds=(LayerKind(None), LayerKind(rope)))
    with pytest.raises(ModelFileError, match=r"m.gguf: its rotary settings give no frequencies"):
        checked_rotation("m.gguf", arch)
    assert checked_rotation("m.gguf", TINY) is TINY
