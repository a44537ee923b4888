import json
import pathlib

import numpy as np
import pytest

from octavo.core.errors import ModelFileError
from octavo.engine.model_files import open_model, open_text, open_vocabulary
from octavo.models.rotary import RopePairing
from octavo.weights.formats import expand_to_f32
from tests.engine.tiny_checkpoint import CONFIG, checkpoint_tensors
from tests.text import tiny_directory
from tests.weights.gguf_bytes import STRING, U32, model_file, tiny_metadata, tiny_tensors, value
from tests.weights.safetensors_bytes import safetensors
from tests.weights.split_bytes import write_split


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
    assert open_vocabulary(tiny).token_bytes == text.tokenizer.vocabulary.token_bytes
    assert (text.name, text.max_position, text.end_ids) == ("Tiny", 128, {1})
    ids = text.chat_template.encode_chat([{"role": "user", "content": "hel"}])
    rendered = "<|im_start|>user\nhel<|im_end|>\n<|im_start|>assistant\n"
    assert text.tokenizer.decode(ids, skip_control=False) == rendered
    assert text.tokenizer.encode("hel", allow_special=False) == [259]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_split_file_is_the_same_model(tiny: pathlib.Path, number: int) -> None:
    parts = write_split(tiny.parent, tiny_metadata(), tiny_tensors())
    model, text = open_model(parts[number]), open_text(parts[number])
    assert model.path == parts[0]
    assert model.fingerprint() == open_model(tiny).fingerprint()
    assert {file.path for file in model.checkpoint.files} == set(parts)
    assert (model.name, text.name, text.max_position, text.end_ids) == ("Tiny", "Tiny", 128, {1})
    assert open_vocabulary(parts[number]).token_bytes == open_vocabulary(tiny).token_bytes


def test_a_split_file_without_a_name_has_that_of_its_files(tmp_path: pathlib.Path) -> None:
    nameless = {key: item for key, item in tiny_metadata().items() if key != "general.name"}
    assert open_model(write_split(tmp_path, nameless, tiny_tensors())[1]).name == "big"


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
        ({"llama.block_count": value(U32, 2**32 - 1)}, {}, "block_count is 4294967295; expected 20 at most"),
        ({"llama.embedding_length": value(U32, 2**31)}, {}, "embedding_length is 2147483648; expected 260"),
        ({"llama.attention.key_length": value(U32, 2**31)}, {}, "key_length is 2147483648; expected 260"),
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


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "tiny-model"
    folder.mkdir()
    library = tiny_directory.llama3()
    library.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "</s>", "chat_template": tiny_directory.TEMPLATE})
    )
    (folder / "model.safetensors").write_bytes(safetensors(checkpoint_tensors()))
    (folder / "modeling_evil.py").write_text("raise SystemExit('model code was run')")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def test_a_directory_gives_program_and_weights(directory: pathlib.Path) -> None:
    """A stored head is dropped where the embedding is the head, as transformers does."""
    model = open_model(directory)
    assert model.name == "tiny-model"
    assert model.architecture.is_embedding_tied
    assert "head" not in model.checkpoint.parts
    found = expand_to_f32(model.checkpoint.parts["layers.0.down"])
    assert np.array_equal(found, checkpoint_tensors()["model.layers.0.mlp.down_proj.weight"])
    text = open_text(directory)
    assert open_vocabulary(directory).token_bytes == text.tokenizer.vocabulary.token_bytes
    assert (text.name, text.max_position, text.end_ids) == ("tiny-model", 128, model.end_ids)
    assert (
        text.tokenizer.decode(text.tokenizer.encode("hello", allow_special=False), skip_control=False)
        == "hello"
    )


def test_what_the_model_cannot_say_ends_no_answer(directory: pathlib.Path) -> None:
    named = [5, 299, 300, 10**9, 2**40]
    (directory / "config.json").write_text(json.dumps(CONFIG | {"eos_token_id": named}))
    model, text = open_model(directory), open_text(directory)
    num_tokens = len(text.tokenizer.vocabulary)
    assert model.end_ids >= {5} and max(model.end_ids) < model.architecture.vocab_size
    assert text.end_ids >= {5} and max(text.end_ids) < num_tokens


def test_a_model_of_which_nearly_everything_ends_an_answer_is_refused(directory: pathlib.Path) -> None:
    tensors = checkpoint_tensors()
    rows = np.zeros((2000, CONFIG["hidden_size"]), np.float32)
    (directory / "model.safetensors").write_bytes(
        safetensors(tensors | {"model.embed_tokens.weight": rows, "lm_head.weight": rows})
    )
    config = CONFIG | {"vocab_size": 2000, "eos_token_id": list(range(1500))}
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match="1500 tokens end an answer; allowed: 1024"):
        open_model(directory)


def test_tensors_that_the_configuration_already_tells_are_not_asked_for(directory: pathlib.Path) -> None:
    base = open_model(directory).fingerprint()
    prefix = "model.layers.0.self_attn.rotary_emb"
    derived = {
        f"{prefix}.inv_freq": np.ones(4, np.float32),
        f"{prefix}.cos_cached": np.ones((9, 4), np.float32),
    }
    (directory / "model.safetensors").write_bytes(safetensors(checkpoint_tensors() | derived))
    assert open_model(directory).fingerprint() == base


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.inv_freq", "model.rotary_emb.inv_freq.weight", "model.layers.0.gate"]
)
def test_any_other_tensor_without_a_part_is_refused_by_name(name: str, directory: pathlib.Path) -> None:
    tensors = checkpoint_tensors() | {name: np.ones(4, np.float32)}
    (directory / "model.safetensors").write_bytes(safetensors(tensors))
    with pytest.raises(ModelFileError, match=f"does not have.*: {name}"):
        open_model(directory)


def test_the_fingerprint_of_a_directory_is_of_weights_and_text(directory: pathlib.Path) -> None:
    base = open_model(directory).fingerprint()
    (directory / "README.md").write_text("other")
    assert open_model(directory).fingerprint() == base
    (directory / "chat_template.jinja").write_text("{{ 1 }}")
    assert open_model(directory).fingerprint() != base


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"num_hidden_layers": 10**12}, "num_hidden_layers is 1000000000000; expected 12 at most"),
        ({"num_experts": 10**9}, "num_experts is 1000000000; expected 12 at most"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"hidden_size": 10**15}, "hidden_size is 1000000000000000; expected 267 at most"),
        ({"head_dim": 10**15}, "head_dim is 1000000000000000; expected 267 at most"),
        ({"vocab_size": 10**15}, "embed_tokens.weight has 267 rows of 32; expected 1000000000000000"),
        ({"architectures": 5}, "architectures is 5"),
        ({"architectures": None, "model_type": 5}, "model_type is 5"),
        ({"architectures": ["EvilForCausalLM"]}, "'EvilForCausalLM' is not supported"),
        ({"tie_word_embeddings": False, "num_hidden_layers": 2}, "tensors are missing: model.layers.1"),
    ],
)
def test_a_config_that_does_not_fit_its_weights_is_refused(
    changes: dict[str, object], complaint: str, directory: pathlib.Path
) -> None:
    (directory / "config.json").write_text(json.dumps(CONFIG | changes))
    with pytest.raises(ModelFileError, match=complaint):
        open_model(directory)


def test_a_directory_needs_a_config_of_a_sensible_size(directory: pathlib.Path) -> None:
    (directory / "config.json").write_text(" " * (1 << 22) + "{}")
    with pytest.raises(ModelFileError, match=r"config\.json is longer than 4,194,304 bytes"):
        open_model(directory)
    (directory / "config.json").unlink()
    with pytest.raises(ModelFileError, match=r"has no config\.json, so it is no model's folder"):
        open_text(directory)
