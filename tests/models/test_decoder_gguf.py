"""What families share in reading GGUF metadata; `llama` has little more, so its tests cover the rest."""

import dataclasses

import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.models.decoder_gguf import decoder_of_gguf, gguf_names
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
