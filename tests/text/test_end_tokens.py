import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.text.end_tokens import end_ids_of_gguf, ends_an_answer


def test_a_file_names_up_to_three() -> None:
    values = {
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.eot_token_id": 2,
        "tokenizer.ggml.eom_token_id": 1,
    }
    assert end_ids_of_gguf(ModelMetadata("m.gguf", values), 3) == {1, 2}
    assert end_ids_of_gguf(ModelMetadata("m.gguf", {}), 3) == frozenset()
    with pytest.raises(ModelFileError, match="eot_token_id is 2; expected an id below 2"):
        end_ids_of_gguf(ModelMetadata("m.gguf", values), 2)


def test_some_names_end_an_answer_in_every_file() -> None:
    assert ends_an_answer("<|im_end|>")
    assert ends_an_answer("<end_of_turn>")
    assert not ends_an_answer("<|im_start|>")
