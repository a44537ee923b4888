"""What families share in reading GGUF metadata; `llama` has little more, so its tests cover the rest."""

import dataclasses

import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Experts
from octavo.models.decoder_gguf import decoder_of_gguf, gguf_experts, gguf_names
from octavo.models.rotary import RopePairing
from tests.models.families.test_llama import GGUF, TENSORS


def read(changes: dict[str, object], reads: tuple[str, ...] = ()) -> object:
    metadata = ModelMetadata("m.gguf", GGUF | changes)
    return decoder_of_gguf(metadata, TENSORS, "llama", RopePairing.HALVES, reads=reads)


def test_a_feature_is_refused_unless_the_family_reads_it() -> None:
    changes = {"llama.residual_scale": 0.5}
    with pytest.raises(ModelFileError, match=r"llama\.residual_scale is 0\.5, a feature"):
        read(changes)
    assert read(changes, reads=("residual_scale",)) == read({})
    assert read({"llama.residual_scale": 1.0}) == read({})


def test_names_follow_the_parts_of_the_program() -> None:
    arch = dataclasses.replace(read({}), is_embedding_tied=False)
    names = gguf_names(arch, final_norm="norm.weight", down="ffn_out.weight")
    assert names["layers.1.q"] == "blk.1.attn_q.weight"
    assert names["layers.0.down"] == "blk.0.ffn_out.weight"
    assert names["final_norm"] == "norm.weight"
    assert names["head"] == "output.weight"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("expert_gating_func", 2),
        ("expert_shared_count", 1),
        ("rope.scaling.yarn_log_multiplier", 0.1),
        ("attention.causal", False),
    ],
)
def test_what_no_family_computes_is_named(key: str, value: object) -> None:
    with pytest.raises(ModelFileError, match=rf"llama\.{key} is"):
        read({f"llama.{key}": value})


def test_experts_are_normalized_unless_the_file_says_otherwise() -> None:
    numbers = GGUF | {"llama.expert_count": 4, "llama.expert_used_count": 2}
    assert gguf_experts(ModelMetadata("m.gguf", numbers), "llama", 16) == Experts(4, 2, 16, True)
    plain = ModelMetadata("m.gguf", numbers | {"llama.expert_weights_norm": False})
    assert not gguf_experts(plain, "llama", 16).is_normalized
