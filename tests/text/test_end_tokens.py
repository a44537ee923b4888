import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.text.end_tokens import end_ids_of_gguf, ends_an_answer, named_end_ids


def test_a_file_names_up_to_three() -> None:
    values = {
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.eot_token_id": 2,
        "tokenizer.ggml.eom_token_id": 1,
    }
    assert named_end_ids(ModelMetadata("m.gguf", values), 3) == {1, 2}
    assert named_end_ids(ModelMetadata("m.gguf", {}), 3) == frozenset()
    with pytest.raises(ModelFileError, match="eot_token_id is 2; expected an id below 2"):
        named_end_ids(ModelMetadata("m.gguf", values), 2)


def test_control_tokens_with_known_names_end_answers_too() -> None:
    values = {"tokenizer.ggml.token_type": [1, 3, 3, 2], "tokenizer.ggml.eos_token_id": 3}
    metadata = ModelMetadata("m.gguf", values)
    assert end_ids_of_gguf(metadata, {"</s>": 0, "<|im_end|>": 1, "<eos>": 9}) == {1, 3}
    untyped = ModelMetadata("m.gguf", {"tokenizer.ggml.eos_token_id": 3})
    assert end_ids_of_gguf(untyped, {"</s>": 0}) == {3}
    with pytest.raises(ModelFileError, match="eos_token_id is 3; expected an id below 2"):
        end_ids_of_gguf(ModelMetadata("m.gguf", values | {"tokenizer.ggml.token_type": [1, 1]}), {})


def test_some_names_end_an_answer_in_every_file() -> None:
    assert ends_an_answer("<|im_end|>")
    assert ends_an_answer("<end_of_turn>")
    assert not ends_an_answer("<|im_start|>")
