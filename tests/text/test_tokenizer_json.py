import json
from typing import Any

import pytest

from octavo.text.tokenizer_json import TokenizerJson
from octavo.text.vocabulary import Spelling
from tests.text import tiny_directory

MINIMAL = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}


def parse(value: Any) -> TokenizerJson:
    return TokenizerJson.parse((value if isinstance(value, str) else json.dumps(value)).encode())


@pytest.mark.parametrize("kind", tiny_directory.KINDS)
def test_tokens_are_listed_by_id(kind: str) -> None:
    library = tiny_directory.KINDS[kind]()
    tokens = parse(library.to_str()).tokens(library)
    assert {token: token_id for token_id, token in enumerate(tokens)} == library.get_vocab()


def test_an_id_may_stand_for_nothing_but_not_very_many() -> None:
    sparse = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 3}, "merges": []}}
    encoder, _ = parse(sparse).build_encoders()
    assert parse(sparse).tokens(encoder) == ["a", "", "", "b"]
    vast = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 10**9}, "merges": []}}
    with pytest.raises(ValueError, match="it has 2 tokens and ids up to 1000000000"):
        parse(vast).tokens(parse(vast).build_encoders()[0])
    with pytest.raises(ValueError, match="added token 'x' has the id 7"):
        parse({**sparse, "added_tokens": [{"id": 7, "content": "x"}]}).tokens(encoder)


def test_the_decoder_tells_how_tokens_are_spelled() -> None:
    spellings = {kind: parse(build().to_str()).spelling() for kind, build in tiny_directory.KINDS.items()}
    assert spellings.pop("llama3") is Spelling.BYTE_LEVEL
    assert set(spellings.values()) == {Spelling.SENTENCEPIECE}
    with pytest.raises(ValueError, match="neither byte-level nor SentencePiece"):
        parse(MINIMAL).spelling()


def test_only_a_prefix_of_the_first_text_needs_a_second_encoder() -> None:
    built = {kind: parse(build().to_str()).build_encoders() for kind, build in tiny_directory.KINDS.items()}
    assert [kind for kind, (_, later) in built.items() if later is not None] == ["mistral"]
    first, later = built["mistral"]
    assert first.encode("ab").tokens == ["▁", "ab"]
    assert later is not None
    assert later.encode("ab").tokens == ["ab"]


def test_encoders_neither_pad_nor_truncate_nor_know_control_tokens() -> None:
    library = tiny_directory.llama2()
    library.enable_truncation(2)
    library.enable_padding(length=50)
    encoder, _ = parse(library.to_str()).build_encoders()
    assert encoder.encode("hello<s>", add_special_tokens=False).tokens == [
        "▁hello",
        *(f"<0x{ord(c):02X}>" for c in "<s>"),
    ]
