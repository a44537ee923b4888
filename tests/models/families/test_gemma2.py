import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Activation, NormPlacement
from octavo.models.families import gemma2
from tests.models.families.test_llama import CONFIG, GGUF, TENSORS

SETTINGS = {key: value for key, value in CONFIG.items() if key != "tie_word_embeddings"}
METADATA = {key.replace("llama", "gemma2"): value for key, value in GGUF.items()}


def of_config(**settings: object):
    return gemma2.architecture_of_config(ModelMetadata("config.json", SETTINGS | settings))


def of_gguf(**metadata: object):
    prefixed = {f"gemma2.{key}": value for key, value in metadata.items()}
    return gemma2.architecture_of_gguf(ModelMetadata("m.gguf", METADATA | prefixed), TENSORS)


def test_what_a_config_leaves_out_is_as_the_class_has_it() -> None:
    arch = of_config(max_position_embeddings=8192)
    assert (arch.head_dim, arch.is_embedding_tied, arch.activation) == (256, True, Activation.GELU_TANH)
    assert (arch.attention_softcap, arch.logits_softcap, arch.attention_scale) == (50.0, 30.0, 1 / 16)
    assert [kind.window for kind in arch.kinds_used] == [4096, None]
    assert (arch.norm_placement, arch.norm_offset) == (NormPlacement.AROUND, 1.0)
    assert arch.embedding_scale == 32**0.5


def test_a_null_is_no_cap() -> None:
    arch = of_config(attn_logit_softcapping=None, final_logit_softcapping=None)
    assert (arch.attention_softcap, arch.logits_softcap) == (None, None)


def test_attention_that_looks_ahead_is_refused() -> None:
    with pytest.raises(ModelFileError, match="use_bidirectional_attention is True"):
        of_config(use_bidirectional_attention=True)


def test_gguf_files_have_the_one_added_to_norms() -> None:
    arch = of_gguf(**{"attention.sliding_window": 64})
    assert arch.norm_offset == 0.0
    assert [kind.window for kind in arch.kinds_used] == [64, None]
    assert (arch.attention_softcap, arch.logits_softcap) == (50.0, 30.0)


def test_the_27b_model_divides_scores_otherwise() -> None:
    assert of_gguf().attention_scale is None
    many = TENSORS * 46
    metadata = METADATA | {"gemma2.block_count": 46, "gemma2.attention.key_length": 4}
    arch = gemma2.architecture_of_gguf(ModelMetadata("m.gguf", metadata), many)
    assert (arch.head_dim, arch.attention_scale) == (4, 8**-0.5)
