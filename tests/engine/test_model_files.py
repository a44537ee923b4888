import pathlib

import numpy as np
import pytest

from octavo.core.errors import ModelFileError
from octavo.engine.model_files import open_model, open_text
from octavo.models.rotary import RopePairing
from octavo.weights.formats import expand_to_f32
from tests.weights.gguf_bytes import STRING, U32, model_file, tiny_metadata, tiny_tensors, value


def write(folder: pathlib.Path, metadata: dict[str, bytes], tensors: dict[str, np.ndarray]) -> pathlib.Path:
    path = folder / "tiny.gguf"
    path.write_bytes(model_file(metadata, tensors))
    return path


@pytest.fixture
def tiny(tmp_path: pathlib.Path) -> pathlib.Path:
    return write(tmp_path, tiny_metadata(), tiny_tensors())


def test_a_file_gives_program_and_weights(tiny: pathlib.Path) -> None:
    model = open_model(tiny)
    assert model.name == "Tiny"
    assert model.architecture.layer_kinds[0].rope.pairing is RopePairing.INTERLEAVED
    assert (model.architecture.vocab_size, model.architecture.is_embedding_tied) == (260, True)
    assert model.end_ids == {1}
    parts = {part for weight in model.program.weights for part, _ in weight.parts}
    assert model.checkpoint.parts.keys() == parts
    found = expand_to_f32(model.checkpoint.parts["layers.1.down"])
    assert np.array_equal(found, tiny_tensors()["blk.1.ffn_down.weight"])


def test_a_file_gives_text(tiny: pathlib.Path) -> None:
    text = open_text(tiny)
    assert (text.name, text.max_position, text.end_ids) == ("Tiny", 128, {1})
    ids = text.chat_template.encode_chat([{"role": "user", "content": "hel"}])
    rendered = "<|im_start|>user\nhel<|im_end|>\n<|im_start|>assistant\n"
    assert text.tokenizer.decode(ids, skip_control=False) == rendered
    assert text.tokenizer.encode_plain("hel") == [259]


def fingerprint(folder: pathlib.Path, metadata: dict[str, bytes], tensors: dict[str, np.ndarray]) -> str:
    return open_model(write(folder, tiny_metadata() | metadata, tiny_tensors() | tensors)).fingerprint()


def test_the_fingerprint_is_of_what_decides_tokens(tmp_path: pathlib.Path) -> None:
    base = fingerprint(tmp_path, {}, {})
    assert fingerprint(tmp_path, {"general.name": value(STRING, "Renamed")}, {}) == base
    norm = tiny_tensors()["output_norm.weight"]
    others = {
        fingerprint(tmp_path, {"tokenizer.chat_template": value(STRING, "{{ 1 }}")}, {}),
        fingerprint(tmp_path, {"tokenizer.ggml.pre": value(STRING, "gpt-2")}, {}),
        fingerprint(tmp_path, {"llama.context_length": value(U32, 64)}, {}),
        fingerprint(tmp_path, {}, {"output_norm.weight": np.nextafter(norm, np.float32(9))}),
    }
    assert base not in others
    assert len(others) == 4


@pytest.mark.parametrize(
    ("metadata", "tensors", "complaint"),
    [
        ({"general.architecture": value(STRING, "mamba")}, {}, "'mamba' is not supported"),
        ({}, {"blk.0.attn_q.bias": np.ones(32, np.float32)}, "blk.0.attn_k.bias"),
        ({}, {"blk.0.attn_sub_norm.weight": np.ones(32, np.float32)}, "blk.0.attn_sub_norm.weight"),
        ({"llama.vocab_size": value(U32, 259)}, {}, "token_embd.weight has 260 rows of 32; expected 259"),
        ({"llama.feed_forward_length": value(U32, 64)}, {}, "ffn_gate.weight has 48 rows"),
    ],
)
def test_a_model_that_cannot_be_served_is_refused(
    metadata: dict[str, bytes], tensors: dict[str, np.ndarray], complaint: str, tmp_path: pathlib.Path
) -> None:
    path = write(tmp_path, tiny_metadata() | metadata, tiny_tensors() | tensors)
    with pytest.raises(ModelFileError, match=complaint) as caught:
        open_model(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("key", ["tokenizer.ggml.pre", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"])
def test_text_needs_its_metadata(key: str, tmp_path: pathlib.Path) -> None:
    metadata = tiny_metadata()
    del metadata[key]
    with pytest.raises(ModelFileError, match=f"{key} is missing"):
        open_text(write(tmp_path, metadata, tiny_tensors()))


def test_text_of_another_kind_is_refused(tmp_path: pathlib.Path) -> None:
    metadata = tiny_metadata() | {"tokenizer.ggml.model": value(STRING, "t5")}
    with pytest.raises(ModelFileError, match="tokenizer model 't5' is not supported"):
        open_text(write(tmp_path, metadata, tiny_tensors()))


def test_a_model_may_have_no_name_of_its_own(tmp_path: pathlib.Path) -> None:
    metadata = tiny_metadata()
    del metadata["general.name"]
    assert open_text(write(tmp_path, metadata, tiny_tensors())).name == "tiny"
